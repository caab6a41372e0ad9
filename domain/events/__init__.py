"""Rules of events: format, batches, schemas."""
