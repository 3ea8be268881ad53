"""Makes what costs memory and time when a route first needs it: without such a route nobody pays for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, Generic, TypeVar

logger = logging.getLogger(__name__)

# What could not be made may be there after an operator has looked at it.
AGAIN_SECONDS = 60.0

T = TypeVar("T")


class Lazily(Generic[T]):
    """A thing that `make` makes of the module `name`, in a thread of its own: importing it blocks for as long
    as a second."""

    def __init__(self, name: str, make: Callable[[Any], T]) -> None:
        self._name = name
        self._make = make
        self._made: T | None = None
        self._busy = False
        self._not_before = 0.0

    @property
    def made(self) -> T | None:
        """The thing where it was made, else None."""
        return self._made

    def get(self) -> T | None:
        """The thing; None while it is being made, or where it cannot be. Never blocks, never raises."""
        if self._made is None and not self._busy and time.monotonic() >= self._not_before:
            self._busy = True
            threading.Thread(target=self._begin, name=f"load-{self._name}", daemon=True).start()
        return self._made

    def _begin(self) -> None:
        try:
            # By its name: a plain import would be made by everybody, at the start.
            self._made = self._make(import_module(self._name))
        except Exception as error:  # noqa: BLE001 - a background thread: calls go on without
            self._not_before = time.monotonic() + AGAIN_SECONDS
            # The type alone: a driver's text may name hosts and users.
            logger.error("%s cannot be used: %s", self._name, type(error).__name__)  # noqa: TRY400 - as above
        finally:
            self._busy = False
