"""Programs that drive Python frameworks; they run in an environment of their own, not in the project's."""
