"""Workers behind the event log."""
