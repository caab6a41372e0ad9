"""Health, metrics, the home page and the control socket."""
