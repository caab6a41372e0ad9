"""Interface between stores and their callers: errors, protocols, records."""
