"""What the API is, told to people and to programs: a module for each resource, and the document."""
