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


ODD = ["\x00", "\x07", "\x1b[31m", "\r", "\n", "\x7f", "\x9b31m", "\u2028", "\u202e", "\u2066", "\u200f"]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("as_json", [True, False])
def test_nothing_that_a_terminal_obeys(odd: str, *, as_json: bool) -> None:
    text = _raw(
        f"odd = 'name{ascii(odd)[1:-1]}name'\n"
        "structlog.get_logger('gateway').info('request', model=odd, dropped=[odd])\n"
        "logging.getLogger('some.library').warning('odd %s', odd)\n",
        as_json=as_json,
    )
    assert text.count("\n") == 2
    assert not [c for c in text if not c.isprintable() and c not in "\n\x7f"]
    assert as_json or "\x7f" not in text
    # Its letters are there to be read.
    assert text.count("name") == 6


@pytest.mark.parametrize("word", ["naïve-模型", "🐎", "a b", "C:\\models"])
def test_other_letters_stay(word: str) -> None:
    assert redact(None, "info", {"model": word})["model"] == word
    assert word in _raw(f"structlog.get_logger().info('request', model={word!r})\n", as_json=False)


def test_a_tracestate_that_is_not_valid_is_not_quoted() -> None:
    said = _written(
        "from opentelemetry.trace import TraceState\n"
        "assert not TraceState.from_header(['canary-\\x9b', '=canary'])\n"
        "assert not TraceState([('canary \\x00', 'x')])\n"
    )
    assert said == []


def _written(code: str) -> list[dict[str, Any]]:
    """The lines that a process writes which logs as production does."""
    return [json.loads(line) for line in _raw(code, as_json=True).splitlines()]


def _raw(code: str, *, as_json: bool) -> str:
    program = (
        "from gateway_project.logs import configure; import logging, structlog\n"
        f"configure('info', as_json={as_json})\n" + code
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b""
    return done.stderr.decode()


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
