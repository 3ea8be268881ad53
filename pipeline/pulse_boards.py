"""Where processes leave what they say of themselves for whoever watches: a folder that those of one machine
share. The board of several machines is in pulse_redis.py."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import NamedTuple, Protocol

# A watcher says each second that it is there, so after so many it is not.
WATCHED_SECONDS = 5.0
# A process says something each second, so after so many it is gone.
FRESH_SECONDS = 5.0


class Heard(NamedTuple):
    """Whether anybody watches, and what the processes say: only for who watches."""

    watched: bool
    pulses: list[bytes]


NOTHING = Heard(watched=False, pulses=[])


class Board(Protocol):
    """Where it is left. It must not raise."""

    async def exchange(self, process: str, pulse: bytes, *, watching: bool) -> Heard:
        """Leave a pulse (b"": nothing to say) and hear those of all, this one too, where `watching`."""
        ...

    async def aclose(self) -> None: ...


class FolderBoard:
    """A file each, and one whose age tells whether anybody watches. Nothing is written while nobody does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._watched = folder / "watched"

    async def exchange(self, process: str, pulse: bytes, *, watching: bool) -> Heard:
        """Beside the event loop: a disk may be slow."""
        try:
            return await asyncio.to_thread(self._exchange, process, pulse, watching=watching)
        except OSError:
            # A full disk: whoever watches sees that nothing comes.
            return NOTHING

    async def aclose(self) -> None:
        """Nothing is held open."""

    def _exchange(self, process: str, pulse: bytes, *, watching: bool) -> Heard:
        if watching:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._watched.touch(mode=0o600)
        if not _is_fresh(self._watched, WATCHED_SECONDS):
            return NOTHING
        if pulse:
            self._write(self._folder / f"{process}.pulse", pulse)
        return Heard(watched=True, pulses=self._read() if watching else [])

    def _read(self) -> list[bytes]:
        found = []
        for path in sorted(self._folder.glob("*.pulse")):
            # Its process may end at any moment, and another watcher may take it away.
            with contextlib.suppress(FileNotFoundError):
                if _is_fresh(path, FRESH_SECONDS):
                    found.append(path.read_bytes())
                else:
                    path.unlink()
        return found

    @staticmethod
    def _write(path: Path, pulse: bytes) -> None:
        beside = path.with_suffix(".new")
        with open(beside, "wb", opener=_private) as file:
            file.write(pulse)
        beside.replace(path)


def _is_fresh(path: Path, seconds: float) -> bool:
    try:
        return time.time() - path.stat().st_mtime < seconds
    except FileNotFoundError:
        return False


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
