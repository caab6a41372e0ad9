"""Rules of stories and their events."""
