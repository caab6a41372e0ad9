"""Ingesting, querying and changing events."""
