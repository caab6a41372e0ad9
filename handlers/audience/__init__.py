"""Audience of a host: beacon, rising pages, page history, live page."""
