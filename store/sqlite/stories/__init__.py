"""Stories and their stats."""
