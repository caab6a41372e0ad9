"""Commands of the command line, a module each: `add` declares arguments, `run` executes."""
