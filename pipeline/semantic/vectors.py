"""Vectors as the semantic cache passes them on: packed 32-bit floats of length 1, little-endian."""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Sequence

# Larger ones do not exist; a provider that sends one is not believed.
MAX_DIMENSIONS = 8192


def pack(numbers: Sequence[float]) -> bytes | None:
    """Any vector as one of length 1. None for what has no direction: empty, zero, not finite, too long."""
    if not 0 < len(numbers) <= MAX_DIMENSIONS:
        return None
    try:
        length = math.hypot(*numbers)
        if not math.isfinite(length) or length == 0:
            return None
        packed = array("f", (number / length for number in numbers))
    except (TypeError, OverflowError, ValueError):
        return None
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()
