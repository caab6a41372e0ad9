"""Campaign stats, images and impressions."""
