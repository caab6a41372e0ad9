"""Backups, restores and integrity reports."""
