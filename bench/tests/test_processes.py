"""A contender's processes: their CPU is theirs and all of theirs, and none outlives the run."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bench.processes import Cores, Launch, Server, core_seconds, pinned

# A parent that starts a child which burns CPU until it is told that it is enough, and then waits.
_FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", '''
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while time.process_time() < 0.3: pass
print("burnt", flush=True)
time.sleep(600)
'''])
print(child.pid, flush=True)
time.sleep(600)
"""


def said(server: Server, lines: int) -> list[str]:
    """The first lines of its log, once it has that many."""
    for _ in range(2000):
        found = server.log.read_text().splitlines()
        if len(found) >= lines:
            return found
        time.sleep(0.01)
    raise AssertionError(server.last_words())


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Server]:
    server = Server(Launch([sys.executable, "-c", _FAMILY], {}, tmp_path), None, tmp_path / "log")
    with closing(server):
        yield server


def test_the_cpu_of_children_counts(family: Server) -> None:
    said(family, 2)
    assert family.cpu_seconds() >= 0.25
    assert family.resident_bytes() > 2 * 2**20


def test_nobody_outlives_the_end(family: Server) -> None:
    child = int(said(family, 2)[0])
    family.close()
    assert not family.running
    for _ in range(500):
        stat = Path(f"/proc/{child}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the child that ignores SIGTERM still runs")


def test_a_server_gets_no_variable_of_this_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-somebody")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    script = "import os; print(*sorted(os.environ))"
    server = Server(Launch([sys.executable, "-c", script], {"OWN": "1"}, tmp_path), None, tmp_path / "log")
    with closing(server):
        [names] = said(server, 1)
    assert {"OWN", "HOME", "PATH"} <= set(names.split())
    assert not {"OPENAI_API_KEY", "HTTPS_PROXY"} & set(names.split())


def test_a_server_runs_on_its_core_and_the_caller_where_it_was(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    core = min(before)
    script = "import os; print(*os.sched_getaffinity(0))"
    server = Server(Launch([sys.executable, "-c", script], {}, tmp_path), core, tmp_path / "log")
    with closing(server):
        assert said(server, 1) == [str(core)]
    assert os.sched_getaffinity(0) == before


def test_a_core_counts_the_work_that_is_done_on_it() -> None:
    core = min(os.sched_getaffinity(0))
    with pinned(core):
        before, own = core_seconds(core), time.process_time()
        while time.process_time() < own + 0.3:
            pass
        assert core_seconds(core) - before >= 0.25


def test_an_unknown_core_is_an_error() -> None:
    with pytest.raises(ValueError, match="no core 4096"):
        core_seconds(4096)


def test_gateway_and_load_get_different_cores_where_there_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7})
    assert Cores.choose() == Cores(gateway=3, load=5)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert Cores.choose() == Cores(gateway=None, load=None)
