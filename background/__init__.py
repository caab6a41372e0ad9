"""Background workers: each repeats one step, `once`, which tests call directly."""
