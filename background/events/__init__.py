"""Workers of the event log: projections and retention."""
