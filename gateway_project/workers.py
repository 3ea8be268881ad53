"""Several server processes on one port: started, watched, started again when one dies, replaced when one
grows too large, and ended together."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from prometheus_client.multiprocess import mark_process_dead

from gateway_project.config import Config
from gateway_project.limits import DRAIN_SECONDS, LAST_SECONDS
from gateway_project.memory import worst
from gateway_project.server import LEAVES, SERVES, bind

# A worker that dies sooner than this after its start will most likely die again.
_SOUND_SECONDS = 5.0
_MAX_PAUSE = 30.0
_LOOK_SECONDS = 0.1
# A worker is not replaced for its memory before it has been up for so long: one that needs more than its
# limit to begin with serves in between.
_GROWN_SECONDS = 60.0
# How often memory is looked at.
_RELIEF_SECONDS = 1.0
# What a worker that is replaced has for its open requests.
_LEAVE_SECONDS = DRAIN_SECONDS + 2 * LAST_SECONDS
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


@dataclass(eq=False, slots=True)
class _Worker:
    """A process, when it was started, and the parent's end of the line to it: words from there say that it
    serves and that it leaves, and its end tells the worker that the parent is gone. `until`: when patience
    with one that was replaced ends."""

    process: subprocess.Popen[bytes]
    started: float
    line: socket.socket
    serves: bool = False
    leaves: bool = False
    until: float = math.inf

    def listen(self) -> None:
        """Hear what it has said."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            words = self.line.recv(16)
            self.serves = self.serves or SERVES in words
            self.leaves = self.leaves or LEAVES in words

    def tell(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


class Workers:
    """The parent of `config.workers` processes, each started with `command` and the number of its listener.

    SIGHUP replaces them, one after the other: a new one is started, and when it serves, the old one drains
    and ends. If a new one does not come up, the old ones stay. For one that was told to end by somebody else
    a new one is started when its drain begins.

    Each has a listener of its own, which the parent keeps open: connections that wait in the kernel when a
    worker leaves are its successor's, and none is reset.
    """

    def __init__(self, config: Config, command: list[str], say: Callable[[str], None]) -> None:
        self._config = config
        self._command = command
        self._say = say
        self._running: dict[int, _Worker] = {}
        self._leaving: list[_Worker] = []
        self._listeners: dict[int, socket.socket] = {}
        # The slots whose worker is still to be replaced, and the one whose turn it is, with its old worker.
        self._old: list[int] = []
        self._turn: tuple[int, _Worker] | None = None
        self._again: dict[int, float] = {}
        self._pauses: dict[int, float] = {}
        self._too_large = worst(None if config.memory_mb is None else config.memory_mb << 20)
        # When memory is looked at next.
        self._relief = 0.0
        # Signals to pass on; not by the handler itself, which may come while a worker is being started.
        self._told: list[int] = []
        self._ending = False
        self._ever_sound = False

    def run(self) -> int:
        """Until told to end and all have ended. The exit status: 0, or 1 when no worker could be kept alive.
        Raises ListenError."""
        # Bound as the workers will bind it and never listened on: holds the port, and tells if it is taken.
        with bind(self._config, shared=True), self._metrics_folder() as folder:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda told, _frame: self._told.append(told))
            signal.signal(signal.SIGHUP, self._renew)
            environ = {**os.environ, METRICS_FOLDER: folder}
            for slot in range(self._config.workers):
                self._start(slot, environ)
            while self._running or self._leaving or (self._again and not self._ending):
                time.sleep(_LOOK_SECONDS)
                self._look(environ)
                if self._hopeless():
                    return 1
        return 0

    def _start(self, slot: int, environ: dict[str, str]) -> None:
        if slot not in self._listeners:
            self._listeners[slot] = bind(self._config, shared=True)
        listener = self._listeners[slot].fileno()
        ours, theirs = socket.socketpair()
        ours.settimeout(0)
        with theirs:
            process = subprocess.Popen(  # noqa: S603 - this program itself
                [*self._command, str(listener)], env=environ, stdin=theirs.fileno(), pass_fds=[listener]
            )
        self._running[slot] = _Worker(process, time.monotonic(), ours)

    def _look(self, environ: dict[str, str]) -> None:
        while self._told:
            self._forward(self._told.pop(0))
        now = time.monotonic()
        for slot, worker in list(self._running.items()):
            worker.listen()
            status = worker.process.poll()
            if status is None:
                self._ever_sound = self._ever_sound or now - worker.started > _SOUND_SECONDS
                if worker.leaves and not self._ending:
                    self._let_go(slot, worker, environ)
                continue
            del self._running[slot]
            self._bury(worker)
            if not self._ending and not self._stays(slot):
                self._give_up(slot)
                self._mourn(slot, status, now - worker.started)
        self._see_off(now)
        if now >= self._relief and not self._ending:
            self._relief = now + _RELIEF_SECONDS
            self._relieve(now)
        for slot, moment in list(self._again.items()):
            if now >= moment and not self._ending:
                del self._again[slot]
                self._start(slot, environ)
        if not self._ending:
            self._replace(environ)

    def _see_off(self, now: float) -> None:
        """Of those that were replaced: who has ended, and who should have."""
        for worker in list(self._leaving):
            if worker.process.poll() is not None:
                self._leaving.remove(worker)
                self._bury(worker)
            elif now > worker.until:
                worker.tell(signal.SIGKILL)

    def _let_go(self, slot: int, worker: _Worker, environ: dict[str, str]) -> None:
        """It drains without having been told so here."""
        worker.until = time.monotonic() + _LEAVE_SECONDS
        self._leaving.append(worker)
        if not self._stays(slot):
            self._start(slot, environ)

    def _give_up(self, slot: int) -> None:
        """Leave the connections of a slot in which nobody is to the others, where there are others."""
        if any(worker.serves for worker in self._running.values()):
            self._listeners.pop(slot).close()

    def _bury(self, worker: _Worker) -> None:
        worker.line.close()
        mark_process_dead(worker.process.pid)  # type: ignore[no-untyped-call]  # the library has no types here

    def _renew(self, _number: int, _frame: FrameType | None) -> None:
        if self._turn is None and not self._old:
            self._old = sorted(self._running)

    def _replace(self, environ: dict[str, str]) -> None:
        """The next step of a replacement, where one is under way."""
        if self._turn is not None:
            slot, old = self._turn
            if self._running[slot].serves:
                self._turn = None
                self._leaving.append(old)
                old.until = time.monotonic() + _LEAVE_SECONDS
                old.tell(signal.SIGTERM)
        elif self._old:
            slot = self._old.pop(0)
            if slot in self._running:
                self._turn = slot, self._running[slot]
                self._start(slot, environ)

    def _stays(self, slot: int) -> bool:
        """True when the worker that ended was to replace one, which then goes on in its place, as do all
        whose turn has not come."""
        if self._turn is None or self._turn[0] != slot:
            return False
        _, old = self._turn
        self._turn = None
        self._old.clear()
        self._running[slot] = old
        self._say("A new worker ended before it served; the old ones go on.")
        return True

    def _relieve(self, now: float) -> None:
        """Replace a worker that takes too much memory, as by SIGHUP: one at a time."""
        if self._turn is not None or self._old or self._leaving:
            return
        grown = {w.process.pid: slot for slot, w in self._running.items() if now - w.started > _GROWN_SECONDS}
        found = self._too_large(list(grown))
        if found is not None:
            self._old = [grown[found]]
            self._say(f"Worker {found} takes too much memory and is replaced.")

    def _mourn(self, slot: int, status: int, lived: float) -> None:
        pause = 0.0 if lived > _SOUND_SECONDS else min(_MAX_PAUSE, self._pauses.get(slot, 0.5) * 2)
        self._pauses[slot] = pause
        self._again[slot] = time.monotonic() + pause
        self._say(f"A worker ended with status {status}; another one starts in {pause:g} s.")

    def _hopeless(self) -> bool:
        """True when none has ever lived and all are down: the configuration is wrong, not the moment."""
        return not self._ever_sound and not self._running and not self._ending

    def _forward(self, number: int) -> None:
        self._ending = True
        for listener in self._listeners.values():
            listener.close()
        if self._turn is not None:
            self._leaving.append(self._turn[1])
            self._turn = None
        for worker in (*self._running.values(), *self._leaving):
            worker.tell(number)

    @contextlib.contextmanager
    def _metrics_folder(self) -> Iterator[str]:
        folder = tempfile.mkdtemp(prefix="gateway-metrics-")
        os.environ[METRICS_FOLDER] = folder
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def end_with_parent() -> None:
    """In a worker: end like on SIGTERM when the parent is gone."""

    def wait() -> None:
        # Not by way of sys.stdin, whose lock would be held for good when the interpreter ends.
        # A parent that dies with a worker's word unread resets the line.
        with contextlib.suppress(ConnectionError):
            while os.read(0, 1024):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent-watcher", daemon=True).start()


def tell_parent(word: bytes) -> None:
    """In a worker: say that it serves, or leaves."""
    with contextlib.suppress(OSError):
        os.write(0, word)


def worker_command() -> list[str]:
    """How this program starts one of its workers."""
    return [sys.executable, str(Path(__file__).resolve().parent.parent / "manage.py"), "serve", "--worker"]
