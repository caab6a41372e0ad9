"""The owner's pages: a module a subject. They work with scripts off, except for what is live."""
