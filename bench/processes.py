"""Server processes of one run: pinned to a core, watched through /proc, and gone when the run is."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_STOP_SECONDS = 8.0  # after SIGTERM; a server that still runs then is killed
_PASSED_ON = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "SSL_CERT_FILE",
)  # nothing else: no keys, no proxies, no settings


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core the gateway has for itself, which one mock and load share; None where there is only one."""

    gateway: int | None
    load: int | None

    @classmethod
    def choose(cls) -> "Cores":
        """The first two cores that this process may use."""
        allowed = sorted(os.sched_getaffinity(0))
        return cls(allowed[0], allowed[1]) if len(allowed) > 1 else cls(None, None)


@contextlib.contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Run the block, and whatever it starts, on `core` only."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def core_seconds(core: int) -> float:
    """CPU time that programs have used on `core` since the machine started, or that its host took from it.

    Interrupts are left out: the kernel counts its work on loopback there, and that belongs to no process.
    """
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            user, nice, system, steal = (int(ticks[column]) for column in (0, 1, 2, 7))
            return (user + nice + system + steal) / _TICKS
    raise ValueError(f"/proc/stat knows no core {core}")


def free_port() -> int:
    """A TCP port on loopback that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a server: a command, its own environment variables and its folder."""

    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path


class Server:
    """One server: the process that was started and all that it started, known by their common session."""

    def __init__(self, launch: Launch, core: int | None, log: Path) -> None:
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment |= {"HOME": str(log.parent), **launch.environment}
        self.log = log
        with pinned(core), log.open("wb") as output:
            self.started = time.perf_counter()
            self._process = subprocess.Popen(
                list(launch.command),
                cwd=launch.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The first process's id, and that of its session."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the first process still runs."""
        return self._process.poll() is None

    def cpu_seconds(self) -> float:
        """User and system time used so far by all of its processes, ended ones included."""
        return sum(sum(map(int, fields[11:15])) for fields in self._members()) / _TICKS

    def resident_bytes(self) -> int:
        """Resident memory of all of its processes together."""
        return sum(int(fields[21]) for fields in self._members()) * os.sysconf("SC_PAGE_SIZE")

    def _members(self) -> Iterator[list[str]]:
        """/proc/<pid>/stat from the field `state` on, for each process of the session."""
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended while we were looking
            if int(fields[3]) == self._process.pid:
                yield fields

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_bytes()[-1500:].decode("utf-8", "replace")

    def close(self) -> None:
        """End it and everything that it started; returns when they are gone."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
