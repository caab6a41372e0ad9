"""The `doctor` command; each check is a module with a function that yields findings."""
