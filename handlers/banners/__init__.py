"""Campaign pages, banner images and conversions."""
