"""The OpenAPI document and the HTML reference page."""
