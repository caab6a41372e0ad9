"""The demo: made-up campaigns, stories and traffic for `serve --sample`."""
