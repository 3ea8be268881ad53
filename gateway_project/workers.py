"""Several server processes on one port: started, watched, started again when one dies, and ended together."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from prometheus_client.multiprocess import mark_process_dead

from gateway_project.config import Config
from gateway_project.server import bind

# A worker that dies sooner than this after its start will most likely die again.
_SOUND_SECONDS = 5.0
_MAX_PAUSE = 30.0
_LOOK_SECONDS = 0.1
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


class Workers:
    """The parent of `config.workers` processes, each started with `command`."""

    def __init__(self, config: Config, command: list[str], say: Callable[[str], None]) -> None:
        self._config = config
        self._command = command
        self._say = say
        self._running: dict[int, tuple[subprocess.Popen[bytes], float]] = {}
        self._again: dict[int, float] = {}
        self._pauses: dict[int, float] = {}
        self._ending = False
        self._ever_sound = False

    def run(self) -> int:
        """Until told to end and all have ended. The exit status: 0, or 1 when no worker could be kept alive.
        Raises ListenError."""
        # Bound as the workers will bind it and never listened on: holds the port, and tells if it is taken.
        with bind(self._config, shared=True), self._metrics_folder() as folder:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._forward)
            environ = {**os.environ, METRICS_FOLDER: folder}
            for slot in range(self._config.workers):
                self._start(slot, environ)
            while self._running or (self._again and not self._ending):
                time.sleep(_LOOK_SECONDS)
                self._look(environ)
                if self._hopeless():
                    return 1
        return 0

    def _start(self, slot: int, environ: dict[str, str]) -> None:
        # The worker reads this pipe: when it closes, the parent is gone, however it went.
        process = subprocess.Popen(self._command, env=environ, stdin=subprocess.PIPE)  # noqa: S603 - this program itself
        self._running[slot] = (process, time.monotonic())

    def _look(self, environ: dict[str, str]) -> None:
        now = time.monotonic()
        for slot, (process, started) in list(self._running.items()):
            status = process.poll()
            if status is None:
                self._ever_sound = self._ever_sound or now - started > _SOUND_SECONDS
                continue
            del self._running[slot]
            mark_process_dead(process.pid)  # type: ignore[no-untyped-call]  # the library has no types here
            if not self._ending:
                self._mourn(slot, status, now - started)
        for slot, moment in list(self._again.items()):
            if now >= moment and not self._ending:
                del self._again[slot]
                self._start(slot, environ)

    def _mourn(self, slot: int, status: int, lived: float) -> None:
        pause = 0.0 if lived > _SOUND_SECONDS else min(_MAX_PAUSE, self._pauses.get(slot, 0.5) * 2)
        self._pauses[slot] = pause
        self._again[slot] = time.monotonic() + pause
        self._say(f"A worker ended with status {status}; another one starts in {pause:g} s.")

    def _hopeless(self) -> bool:
        """True when none has ever lived and all are down: the configuration is wrong, not the moment."""
        return not self._ever_sound and not self._running and not self._ending

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        self._ending = True
        for process, _ in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

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
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent-watcher", daemon=True).start()


def worker_command() -> list[str]:
    """How this program starts one of its workers."""
    return [sys.executable, str(Path(__file__).resolve().parent.parent / "manage.py"), "serve", "--worker"]
