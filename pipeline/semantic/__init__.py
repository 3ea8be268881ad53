"""Owns the semantic cache: answers for questions that mean the same, within a hard partition."""
