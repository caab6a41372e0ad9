"""What runs in the background; each loop is a few lines around a `once()` that tests call."""
