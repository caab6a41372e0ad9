"""What is remembered: databases, imports, images, apps, caches; one file an entity."""
