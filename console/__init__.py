"""Operators' own pages and commands: what would become of a request, and why."""
