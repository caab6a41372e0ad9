"""Users, login sessions, apps and tokens."""
