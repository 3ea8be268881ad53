"""Rough token counts for the moments when no provider has counted."""

from __future__ import annotations

# English averages about four characters a token across the common tokenizers; code and other scripts
# have fewer, so the estimate errs to the low side there and is always marked as an estimate.
CHARS_PER_TOKEN = 4


def tokens(chars: int) -> int:
    """Tokens for a number of characters: at least 1 for any text, 0 for none."""
    return -(-chars // CHARS_PER_TOKEN)
