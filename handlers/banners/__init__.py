"""Campaign pages, banner images, clicks, conversions and candidates."""
