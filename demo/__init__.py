"""Demo campaigns, stories and traffic for `serve --sample`."""
