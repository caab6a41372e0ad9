"""The adapter between this server and Tornado applications."""
