"""Workers of campaigns and banners."""
