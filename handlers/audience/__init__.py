"""The audience of a host: beacon, rising pages, live page."""
