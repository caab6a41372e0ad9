"""State that all connections of a server share."""
