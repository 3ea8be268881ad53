"""Work in a child process: what it returns and says, and how it ends with its parent."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# One thread, as at the start of a gateway; tests have many.
BEGIN = """
import os, signal, sys
from gateway_project.apart import EndedError, apart
from gateway_project.log_sink import Sink
sink = Sink(2)
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", BEGIN + script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_it_returns_arrives_and_nothing_is_said_twice() -> None:
    done = run("""
print("said before", end="")
made = apart(lambda: {"pid": os.getpid(), "first": True, "key": None}, lambda: print("; begun", end=""))
assert made == {"pid": made["pid"], "first": True, "key": None}
assert made["pid"] != os.getpid()
print("; said after")
""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "said before; begun; said after\n", "")


def test_who_raises_tells_it_himself_and_both_end_so() -> None:
    done = run("""
def work():
    raise ValueError("of the child")
apart(work, lambda: None)
print("goes on")
""")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("ValueError: of the child") == 1
    assert run("apart(lambda: sys.exit(7), lambda: None)").returncode == 7


def test_a_child_that_is_killed_is_an_error() -> None:
    done = run("""
try:
    apart(lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: None)
except EndedError as error:
    print(error)
""")
    assert (done.returncode, done.stdout) == (0, "it was ended by signal 9\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_meanwhile_ends_both(number: signal.Signals) -> None:
    done = run(f"""
import time
def work():
    print("child", os.getpid(), flush=True)
    os.kill(os.getppid(), {int(number)})
    time.sleep(50)
apart(work, lambda: None)
print("goes on")
""")
    assert done.returncode == -number
    assert "goes on" not in done.stdout
    child = int(done.stdout.split()[1])
    assert not Path(f"/proc/{child}").exists()


def test_signals_are_afterwards_as_they_were() -> None:
    done = run("""
before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
apart(lambda: {}, lambda: None)
assert before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
""")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_log_of_both_is_whole() -> None:
    # Here the parent has a second thread, the log's, of which newer Pythons warn.
    done = run("""
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
sink.write("before\\n")
def work():
    sink.write("in the child\\n")
    sink.drain()
    return {}
apart(work, sink.forked)
sink.write("after\\n")
""")
    assert done.returncode == 0
    assert sorted(done.stderr.split("\n")) == ["", "after", "before", "in the child"]
