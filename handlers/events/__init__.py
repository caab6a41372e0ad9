"""Event ingest, search, export, mutations, event schemas and rejected events."""
