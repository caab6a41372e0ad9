"""Rules of the admin pages: passwords, login throttle, charts."""
