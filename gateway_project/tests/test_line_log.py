"""The log of requests: the same lines as any other, without a secret, and never in anybody's way."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from gateway_project.line_log import LineLog
from gateway_project.log_sink import MOST_LINES, Sink
from gateway_project.tests.test_logs import CANARIES

_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z")


class Pipe:
    """What stands at the other end of a process's standard error."""

    def __init__(self) -> None:
        self.end, self.fd = os.pipe()

    def lines(self) -> list[dict[str, Any]]:
        """All that was written; no more can be."""
        os.close(self.fd)
        with os.fdopen(self.end, "rb") as file:
            return [json.loads(line) for line in file]


@pytest.fixture
def pipe() -> Pipe:
    return Pipe()


def test_a_line_is_as_structlog_would_write_it() -> None:
    program = (
        "from gateway_project.logs import configure; from gateway_project.line_log import LineLog\n"
        "import structlog\n"
        "sink = configure('info', as_json=True)\n"
        "fields = {'request_id': 'req_1', 'ms': 1.5, 'team': 'a\\nb', 'code': None, 'dropped': ['top_k']}\n"
        "structlog.get_logger('gateway').warning('request', **fields)\n"
        "LineLog('info', sink.put).warning('request', **fields)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    theirs, ours = map(json.loads, done.stderr.splitlines())
    assert _STAMP.fullmatch(theirs.pop("timestamp"))
    assert _STAMP.fullmatch(ours.pop("timestamp"))
    assert list(ours.items()) == list(theirs.items())
    assert done.stdout == ""


@pytest.mark.parametrize("canary", CANARIES)
def test_keys_are_cut_out(pipe: Pipe, canary: str) -> None:
    sink = Sink(pipe.fd)
    log = LineLog("info", sink.put)
    log.info("request", model=f"x {canary} y", dropped=[canary, "top_k"], key="gw-abcdefgh")
    assert sink.drain(10)
    [line] = pipe.lines()
    assert canary not in json.dumps(line)
    assert (line["dropped"][1], line["key"]) == ("top_k", "gw-abcdefgh")


def test_nothing_that_a_terminal_obeys(pipe: Pipe) -> None:
    sink = Sink(pipe.fd)
    log = LineLog("info", sink.put)
    log.info("request", model="a\x9b31m", team="模型-\u202e" * 3, dropped=["\u2066"])
    assert sink.drain(10)
    [line] = pipe.lines()
    assert (line["model"], line["team"]) == (r"a\x9b31m", "模型-\\u202e" * 3)
    assert line["dropped"] == [r"\u2066"]


def test_only_what_the_level_lets_through(pipe: Pipe) -> None:
    sink = Sink(pipe.fd)
    log = LineLog("warn", sink.put)
    log.info("request", n=1)
    log.warning("request", n=2)
    assert sink.drain(10)
    assert [line["n"] for line in pipe.lines()] == [2]


def test_a_reader_who_does_not_read_holds_up_nobody_and_what_is_lost_is_counted(pipe: Pipe) -> None:
    os.set_blocking(pipe.fd, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(pipe.fd, b"{}\n" * 1000):
            pass
    os.set_blocking(pipe.fd, True)
    lost: list[int] = []
    sink = Sink(pipe.fd)
    sink.on_lost = lost.append
    log = LineLog("info", sink.put)
    for number in range(3 * MOST_LINES):
        # It returns: that is the test. The pipe is full, and stays so.
        log.info("request", n=number)
    assert MOST_LINES <= sum(lost) < 3 * MOST_LINES
    assert not sink.drain(0.1)
    os.close(pipe.end)
    # Nobody reads any more: what was being written is lost too, and the thread goes on.
    assert sink.drain(10)
    os.close(pipe.fd)
