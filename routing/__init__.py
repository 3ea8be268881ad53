"""Which model name goes where: the map, its snapshot, and its revisions."""
