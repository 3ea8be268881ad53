"""Tests that need the whole gateway, and what they share."""
