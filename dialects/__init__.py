"""Wire formats as pure functions over dict and bytes: no Django, no HTTP, no I/O."""
