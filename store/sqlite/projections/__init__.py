"""Tables derived from the event log."""
