"""One connection: reads requests, serves them, sends responses."""
