"""The bridge to Tornado applications."""
