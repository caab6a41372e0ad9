"""The import of campaign folders: scan, read, aggregate, hand over to a store."""
