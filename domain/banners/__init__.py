"""Rules of campaigns and banners: slots, ranking, CSV rows."""
