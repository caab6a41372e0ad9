"""Validate and parse stories and their events."""
