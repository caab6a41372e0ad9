"""What an owner types: a module a command; `add` tells its words, `run` does it."""
