"""Code that the workers of all features share."""
