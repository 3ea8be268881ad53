"""A gateway as `make run` starts it: a process of its own, with an empty data folder, on a free port.

with Served() as gateway:
    gateway.url, gateway.password       # the admin's user is `admin`
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import URLError

from gateway_project.limits import ECHO_SECONDS

_ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 150.0  # migrations and seeding take three on a quiet machine


class Served:
    """`environ` adds to the environment, which has none of this shell's own settings or keys. `folder`: a
    data folder to keep; without one it is made, and removed at the end."""

    def __init__(self, folder: Path | None = None, **environ: str) -> None:
        self._kept = folder is not None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="gateway-served-"))
        self.password = secrets.token_urlsafe(16)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        # Where its standard error goes; None: where its standard output goes, which `output` reads.
        self.errors: int | None = None
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("LLM_GATEWAY_") and name not in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")
        }
        self.environ = {
            **inherited,
            "DJANGO_SETTINGS_MODULE": "gateway_project.settings",
            "LLM_GATEWAY_DATA_DIR": str(self.folder),
            "LLM_GATEWAY_CONFIG": os.devnull,
            "LLM_GATEWAY_SERVER_PORT": str(self.port),
            "LLM_GATEWAY_ADMIN_PASSWORD": self.password,
            **environ,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def output(self) -> str:
        """What it has written so far."""
        return (self.folder / "log").read_text(errors="replace")

    def manage(self, *words: str, given: str = "") -> str:
        """What `manage.py` with these words prints, run beside the gateway with the same settings. `given` is
        its standard input. CalledProcessError: it failed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=_ROOT,
            env=self.environ,
            input=given,
            capture_output=True,
            text=True,
            check=True,
            timeout=_START_SECONDS,
        )
        return done.stdout

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send one signal and wait for the end. The exit status."""
        os.kill(self.pid, number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end of what was told to end. The exit status."""
        assert self._process is not None
        return self._process.wait(30)

    def __enter__(self) -> Self:
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "manage.py", "serve"],
                cwd=_ROOT,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log if self.errors is None else self.errors,
            )
        end = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                self.__exit__(None, None, None)
                raise RuntimeError(f"the gateway did not start:\n{self.log}")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.log = self.output
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            # The second one says: at once. Sooner, it would be taken for an echo of the first.
            time.sleep(2 * ECHO_SECONDS)
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(20)
        if not self._kept:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url + "/health", timeout=2) as reply:
                return bool(reply.status == 200)
        except (URLError, OSError):
            return False
