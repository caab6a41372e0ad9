"""Rules that several features share."""
