"""Prompts and answers that a team has kept: off unless it says so, redacted, sealed, and for a time."""
