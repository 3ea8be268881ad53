"""What of an address or a form may be the number of a row. The admin is not loaded to know it."""

from __future__ import annotations

_ID_DIGITS = 18


def is_id(text: str) -> bool:
    """Whether it is a number that every database has room for."""
    return text.isascii() and text.isdigit() and len(text) <= _ID_DIGITS
