"""What a WebSocket has received and its application has not: bounded, by letting the client wait."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

# Enough that a client that talks is never held up, and little beside one message of the longest.
_MOST_BYTES = 1 << 20
# Each costs memory beyond its bytes.
_EACH = 1024


class Inbox(asyncio.Queue[MutableMapping[str, Any]]):
    """A queue that has its connection read on only while there is room."""

    def __init__(self, transport: Any) -> None:
        super().__init__()
        self._transport = transport
        self._size = 0
        self._resting = False

    def put_nowait(self, item: MutableMapping[str, Any]) -> None:
        super().put_nowait(item)
        self._size += _weight(item)
        if self._size > _MOST_BYTES and not self._resting:
            self._resting = True
            self._transport.pauseProducing()

    def get_nowait(self) -> MutableMapping[str, Any]:
        item = super().get_nowait()
        self._size -= _weight(item)
        if self._resting and self._size <= _MOST_BYTES // 2:
            self._resting = False
            if self._transport.connected:
                self._transport.resumeProducing()
        return item


def _weight(item: MutableMapping[str, Any]) -> int:
    return _EACH + len(item.get("text") or item.get("bytes") or "")
