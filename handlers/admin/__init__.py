"""The admin pages. They work without scripts, except for live updates."""
