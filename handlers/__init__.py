"""HTTP handlers by feature: each parses a request, makes one call and sends a response."""
