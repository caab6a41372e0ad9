"""Imports: staging, publication, corrections, lists."""
