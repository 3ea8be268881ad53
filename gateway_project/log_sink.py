"""Where log lines leave the process: a bounded line in memory and a thread that writes it out in batches, so
that a reader that is slow and a disk that is full hold up nobody who logs."""

from __future__ import annotations

import atexit
import io
import os
import threading
import time
from collections import deque
from collections.abc import Callable

from typing_extensions import override

# Some seconds of the busiest process, in a few megabytes: as long as a reader may rest unnoticed.
MOST_LINES = 10_000
# How long lines gather. Nobody reads a log sooner, and a wake-up of the thread for each line would cost the
# requests more than the line itself. A crash loses no more than this.
_GATHER_SECONDS = 0.05
# A pipe that takes nothing just now is asked again so soon, a disk that is full so late.
_FULL_SECONDS = 0.05
_BROKEN_SECONDS = 1.0
# What the end of the process waits for the last lines.
_LAST_SECONDS = 1.0


class Sink(io.TextIOBase):
    """A text stream that takes everything at once, from any thread. What does not fit any more is dropped and
    counted in `lost`, and told to `on_lost`, which may be called from any thread."""

    def __init__(self, fd: int, most: int = MOST_LINES) -> None:
        self.lost = 0
        self.on_lost: Callable[[int], None] | None = None
        self._fd = fd
        self._most = most
        self._lines: deque[bytes] = deque()
        self._some = threading.Event()
        # Set while somebody waits for all to be out: nothing gathers then.
        self._hurry = threading.Event()
        self._writing = False
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    @override
    def write(self, text: str, /) -> int:
        """Take a line. Never waits, never raises."""
        self.put(text.encode("utf-8", "replace"))
        return len(text)

    def put(self, line: bytes) -> None:
        """Take a line that is encoded, with its end. Never waits, never raises."""
        if len(self._lines) >= self._most:
            self._lose(1)
            return
        self._lines.append(line)
        if not self._some.is_set():
            self._some.set()
            if self._thread is None:
                self._start()

    @override
    def flush(self) -> None:
        """Nothing: whoever logs waits for nobody."""

    @override
    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def drain(self, seconds: float = _LAST_SECONDS) -> bool:
        """Wait until all lines are out, for so long at most; True: they are."""
        end = time.monotonic() + seconds
        self._hurry.set()
        try:
            while self._lines or self._writing:
                if time.monotonic() > end:
                    return False
                time.sleep(0.002)
            return True
        finally:
            self._hurry.clear()

    def forked(self) -> None:
        """In a child process: begin anew. What waits is the parent's to write, and so was the thread."""
        self._lines.clear()
        self._some, self._hurry = threading.Event(), threading.Event()
        self._writing, self._thread, self._starting = False, None, threading.Lock()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                # A daemon: a reader that takes nothing must not keep the process from ending.
                self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
                self._thread.start()
                atexit.register(self.drain)

    def _run(self) -> None:
        while True:
            self._some.wait()
            self._hurry.wait(_GATHER_SECONDS)
            self._some.clear()
            # Before a line is taken, so that `drain` never sees neither.
            self._writing = True
            self._put_out([self._lines.popleft() for _ in range(len(self._lines))])
            self._writing = False

    def _put_out(self, batch: list[bytes]) -> None:
        data = memoryview(b"".join(batch))
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                time.sleep(_FULL_SECONDS)
            except OSError:
                # The disk is full, or the reader has gone.
                self._lose(len(batch))
                time.sleep(_BROKEN_SECONDS)
                return

    def _lose(self, lines: int) -> None:
        self.lost += lines
        if self.on_lost is not None:
            self.on_lost(lines)
