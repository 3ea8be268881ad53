"""Imports a library without those packages that it would load only because they are installed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module


def import_without(name: str, hidden: Sequence[str]) -> None:
    """Import the module `name`, for which none of the packages `hidden` is installed. Nobody
    may import those meanwhile. A package that is loaded already costs nothing more and is not hidden."""
    absent = [each for each in hidden if each not in sys.modules]
    # Python's own word for a module that cannot be had.
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # typeshed knows modules alone
    try:
        import_module(name)
    finally:
        for each in absent:
            del sys.modules[each]
