"""In-memory caches and the active visitors."""
