"""Connections: accepting them, reading requests, sending responses."""
