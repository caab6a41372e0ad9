"""HTTP handlers, per feature: each parses a request, makes one call and answers."""
