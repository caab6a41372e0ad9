"""Stories of an app, their events, counts and active users."""
