"""Workers that run beside the requests; each is a few lines around one step that tests can call."""
