"""What is stored: protocols in `api`, a package per kind of store, caches."""
