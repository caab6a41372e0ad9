"""The composition root: settings, start, stop, and the features of the server."""
