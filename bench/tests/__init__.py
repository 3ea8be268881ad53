"""Self-checks of the benchmark's own tools."""
