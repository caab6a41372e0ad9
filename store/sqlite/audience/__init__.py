"""Hosts, pageviews and minute averages."""
