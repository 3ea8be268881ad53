"""A journal on disk: lines that a process has written and the database does not have yet.

Each process has a name, and in the folder a lock that it holds as long as it lives and numbered segments.
What it has written outlives it, because it is in the kernel's hands at once; the lock tells everybody on the
machine whether it lives.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

# A segment is deleted when all of it is in the database, and read again from its beginning by whoever follows
# a process that died.
SEGMENT_BYTES = 1 << 20
# What is kept in memory while the disk takes nothing: at a kilobyte each, ten megabytes.
MAX_HELD = 10_000
# One read. A line is longer only if a request had hundreds of prompts.
_READ_BYTES = 1 << 19
# Room that only the ends of calls may use: an end says all that its beginning said.
_BEGINNINGS_SHARE = 0.9
_LOCK, _SEGMENT = ".lock", ".journal"

Lost = Callable[[str], None]


class Journal:
    """This process's own. `append` belongs to one thread; all else to another one, which carries the lines to
    the database. `limit`: bytes that may wait; `lost` is told why a line was dropped."""

    def __init__(self, folder: Path, limit: int, lost: Lost) -> None:
        self.name = secrets.token_hex(8)
        self.lost = lost
        self._folder = folder
        self._limit = limit
        self._segment = -1
        self._lock = -1
        self._number = 0
        self._size = 0
        # Each is counted by one thread alone.
        self._written = 0
        self._carried = 0
        self._held: deque[bytes] = deque()
        self._taken: list[bytes] = []
        self._reader = Reader(folder, self.name, owned=True)

    @property
    def depth(self) -> int:
        """Bytes that wait."""
        return self._written - self._carried + sum(map(len, tuple(self._held))) + sum(map(len, self._taken))

    def open(self) -> bool:
        """Take the lock and begin a segment, unless that was done. Raises nothing: False while the folder
        cannot be written."""
        if self._lock >= 0:
            return True
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = _locked(self._folder / (self.name + _LOCK))
            if lock is None:
                return False
            segment = self._begun(1)
        except OSError:
            return False
        self._lock = lock
        self._number, self._size, self._segment = 1, 0, segment
        return True

    def append(self, line: bytes, *, vital: bool) -> None:
        """Keep a line. Never raises, and never waits for more than the kernel's copy of it."""
        size = len(line)
        room = self._limit if vital else self._limit * _BEGINNINGS_SHARE
        if self._written - self._carried + size > room:
            self.lost("full")
            return
        if self._segment >= 0 and self._put(line, size):
            return
        if len(self._held) < (MAX_HELD if vital else MAX_HELD * _BEGINNINGS_SHARE):
            self._held.append(line)
        else:
            self.lost("disk")

    def _put(self, line: bytes, size: int) -> bool:
        try:
            done = os.write(self._segment, line)
            if done < size:
                # The disk is full: half a line would spoil the next one.
                os.ftruncate(self._segment, self._size)
                return False
            self._size += size
            self._written += size
            if self._size >= SEGMENT_BYTES:
                self._turn()
        except OSError:
            return False
        return True

    def _turn(self) -> None:
        """Begin the next segment, or go on with this one where that cannot be."""
        with suppress(OSError):
            following = self._begun(self._number + 1)
            old, self._segment = self._segment, following
            self._number, self._size = self._number + 1, 0
            os.close(old)

    def _begun(self, number: int) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        segment = os.open(_segment(self._folder, self.name, number), flags, 0o600)
        # A file is never waited for; said all the same, so that whoever looks for calls that block sees it.
        os.set_blocking(segment, False)
        return segment

    def lines(self) -> list[bytes]:
        """Some of what waits, oldest first; nothing where all is carried. `carried` before the next."""
        if not self._taken:
            while self._held and len(self._taken) < 500:
                self._taken.append(self._held.popleft())
        return self._taken or self._reader.lines()

    def carried(self) -> None:
        """What was last taken is in the database."""
        if self._taken:
            self._taken = []
        else:
            self._carried += self._reader.done()

    def close(self) -> None:
        """Let go. What is not carried stays for another process."""
        if self._lock < 0:
            return
        os.close(self._segment)
        self._segment = -1
        if not self.depth:
            _remove(self._folder, self.name)
        os.close(self._lock)
        self._lock = -1


class Reader:
    """The lines of one name's segments, oldest first. `owned`: the last segment is still being written."""

    def __init__(self, folder: Path, name: str, *, owned: bool = False) -> None:
        self.name = name
        # Lines that a crash of the machine has cut off.
        self.torn = 0
        self._folder = folder
        self._owned = owned
        self._path: Path | None = None
        self._offset = 0
        self._read = 0

    def lines(self) -> list[bytes]:
        """The next ones, complete; none: there are no more at present. Raises OSError."""
        while True:
            paths = _segments(self._folder, self.name)
            if self._path is None or self._path not in paths:
                if not paths:
                    return []
                self._path, self._offset = paths[0], 0
            found, end = self._some(self._path)
            self._read = end
            if found:
                return found
            last = self._path == paths[-1]
            if last and self._owned:
                return []
            # Whoever wrote it has gone on to the next, or is dead: what is left has no end of line.
            self.torn += self._path.stat().st_size > self._offset
            self._path.unlink()
            self._path = None

    def done(self) -> int:
        """What was last read will not be read again. How many bytes that were."""
        carried = self._read - self._offset
        self._offset = self._read
        return carried

    def _some(self, path: Path) -> tuple[list[bytes], int]:
        """Whole lines from the offset on, and where they end."""
        size = _READ_BYTES
        with path.open("rb") as file:
            while True:
                file.seek(self._offset)
                piece = file.read(size)
                end = piece.rfind(b"\n") + 1
                if end or len(piece) < size:
                    return piece[:end].splitlines(keepends=True), self._offset + end
                size *= 2


class Abandoned:
    """The journal of a process that has died, held so that nobody else takes it."""

    def __init__(self, folder: Path, name: str, lock: int) -> None:
        self.name = name
        self._folder = folder
        self._lock = lock
        self._reader = Reader(folder, name)

    def lines(self) -> list[bytes]:
        """See Reader."""
        return self._reader.lines()

    def carried(self) -> None:
        """See Reader."""
        self._reader.done()

    @property
    def torn(self) -> int:
        """Lines that were cut off."""
        return self._reader.torn

    def release(self, *, empty: bool) -> None:
        """Let go; `empty`: nothing of it is needed any more."""
        if empty:
            _remove(self._folder, self.name)
        os.close(self._lock)


def abandoned(folder: Path, own: str) -> Iterator[Abandoned]:
    """The journals in the folder whose processes have died. Each must be released. Raises OSError."""
    names = {path.name.partition(".")[0] for kind in (_LOCK, _SEGMENT) for path in folder.glob("*" + kind)}
    for name in sorted(names - {own}):
        lock = _locked(folder / (name + _LOCK))
        if lock is not None:
            yield Abandoned(folder, name, lock)


def _locked(path: Path) -> int | None:
    """The lock of this name, None where its owner lives. Raises OSError."""
    lock = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held it may have removed it since: then it locks nothing that others see.
        if os.path.samestat(os.fstat(lock), path.stat()):
            return lock
    except OSError:
        pass
    os.close(lock)
    return None


def _segment(folder: Path, name: str, number: int) -> Path:
    return folder / f"{name}.{number:08}{_SEGMENT}"


def _segments(folder: Path, name: str) -> list[Path]:
    return sorted(folder.glob(f"{name}.*{_SEGMENT}"))


def _remove(folder: Path, name: str) -> None:
    for path in (*_segments(folder, name), folder / (name + _LOCK)):
        with suppress(OSError):
            path.unlink()
