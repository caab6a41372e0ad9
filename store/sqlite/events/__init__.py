"""The event log, its queries and mutations."""
