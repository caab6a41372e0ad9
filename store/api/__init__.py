"""What stores share with their callers: errors, protocols, records."""
