"""Stories and their events."""
