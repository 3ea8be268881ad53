"""Log lines: valid JSON, bounded, and without anything that looks like a key."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from gateway_project.logs import redact

CANARIES = [
    "gw-abcdefgh0123456789",
    "sk-proj-abcdefghijklmnop",
    "sk-ant-api03-abcdefghijkl",
    "gsk_abcdefghijklmnop",
    "AIzaSyabcdefghijklmnopqrstuv",
    "xai-abcdefghijklmnop",
]


@pytest.mark.parametrize("canary", CANARIES)
def test_keys_are_cut_out(canary: str) -> None:
    event: dict[str, Any] = {"event": f"with {canary} inside", "list": [canary, 1], "n": 3}
    assert canary not in json.dumps(redact(None, "info", event))


def test_what_follows_bearer_is_cut_out() -> None:
    line = redact(None, "info", {"event": "Authorization: Bearer hunter2hunter2"})
    assert "hunter2" not in line["event"]


@pytest.mark.parametrize(
    "word", ["gpt-4o-mini", "claude-opus-4-5", "req_0123456789abcdef01234567", "llama3.2"]
)
def test_names_stay(word: str) -> None:
    assert redact(None, "info", {"model": word})["model"] == word


def test_a_long_text_is_cut() -> None:
    assert len(redact(None, "info", {"event": "x" * 100_000})["event"]) < 3000


def _written(code: str) -> list[dict[str, Any]]:
    """The lines that a process writes which logs as production does."""
    program = (
        "from gateway_project.logs import configure; import logging, structlog\n"
        "configure('info', as_json=True)\n" + code
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_both_ways_in_give_json_lines() -> None:
    ours, theirs = _written(
        "structlog.get_logger('gateway').info('request', team='a\\nb', ms=1.5)\n"
        "logging.getLogger('some.library').warning('odd %s', 'thing')\n"
    )
    assert (ours["event"], ours["team"], ours["ms"], ours["level"]) == ("request", "a\nb", 1.5, "info")
    assert (theirs["event"], theirs["logger"], theirs["level"]) == ("odd thing", "some.library", "warning")
    assert ours["timestamp"].endswith("Z")


def test_an_exception_is_told_without_its_words() -> None:
    (line,) = _written(
        "try:\n    raise ValueError('prompt-canary')\n"
        "except ValueError:\n    logging.getLogger('x').exception('it failed')\n"
    )
    assert line["error"] == "ValueError"
    assert line["where"]
    assert "canary" not in json.dumps(line)


def test_a_level_below_is_silent() -> None:
    assert _written("structlog.get_logger().debug('x'); logging.getLogger().debug('y')\n") == []


def test_pytest_keeps_its_own_capture(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        logging.getLogger("gateway.tests").info("heard")
    assert "heard" in caplog.text
