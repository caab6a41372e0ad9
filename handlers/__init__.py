"""The edge: a module a resource; each takes a request apart, makes one call and answers."""
