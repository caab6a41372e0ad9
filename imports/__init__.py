"""Import of campaign folders: scan, parse, aggregate, stage in a store."""
