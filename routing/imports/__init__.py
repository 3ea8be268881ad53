"""Turns other gateways' configuration into this one's document: nothing is applied, nothing lost silently."""
