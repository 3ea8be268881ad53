"""Daphne, hardened for strangers: strict heads, capped bodies, deadlines, back-pressure, an orderly end."""
