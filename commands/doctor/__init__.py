"""`doctor`: a module per check; each is a function that yields findings."""
