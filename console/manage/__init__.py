"""The management API: what the admin does, for programs."""
