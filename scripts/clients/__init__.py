"""Runs clients that others wrote against a gateway in front of the fake upstream: `make clients`."""
