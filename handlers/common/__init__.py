"""Code that the handlers of all features share."""
