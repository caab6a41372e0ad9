"""What `doctor` looks at: a module a subject, each a function that yields what it finds."""
