"""Imports: staged, published, corrected."""
