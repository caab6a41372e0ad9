"""Workers of the admin pages."""
