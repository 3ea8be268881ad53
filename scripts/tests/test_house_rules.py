"""Judges the house rules: each breach is seen, and what is allowed is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.house_rules import MAX_LINES, MAX_LINES_IN_DIALECTS, check

CLEAN = '"""Owns nothing."""\n'
MODULE = Path("pipeline/stage.py")


@pytest.mark.parametrize(
    "line",
    [
        "x = 1  # noqa: S101",
        "x = 1  # noqa",
        "x = 1  # noqa: S101, BLE001",
        "x = 1  # noqa: S101 -",
        "x = 1  # type: ignore[attr-defined]",
        "x = 1  # pragma: no cover",
    ],
)
def test_an_ignore_without_reason_is_a_breach(line: str) -> None:
    (breach,) = check(MODULE, f"{CLEAN}{line}\n")
    assert breach.startswith("pipeline/stage.py:2: ")


@pytest.mark.parametrize(
    "line",
    [
        "x = 1  # noqa: S101 - a programmer's error, not input",
        "x = 1  # noqa: S101, BLE001 - the door",
        "x = 1  # type: ignore[attr-defined]  # an ASGI request has one",
        "x = 1  # pragma: no cover - another platform's branch",
        "x = '# noqa: S101'",
    ],
)
def test_an_ignore_with_its_reason_is_allowed(line: str) -> None:
    assert check(MODULE, f"{CLEAN}{line}\n") == []


@pytest.mark.parametrize(
    ("path", "most"), [(MODULE, MAX_LINES), (Path("dialects/chat_via_messages.py"), MAX_LINES_IN_DIALECTS)]
)
def test_a_file_has_a_most(path: Path, most: int) -> None:
    assert check(path, CLEAN + "x = 1\n" * (most - 1)) == []
    assert check(path, CLEAN + "x = 1\n" * most) == [
        f"{path}:{most + 1}: the file has {most + 1} lines, {most} at most"
    ]


def test_a_module_says_what_it_owns() -> None:
    assert check(MODULE, "x = 1\n") == ["pipeline/stage.py:1: the module does not say what it owns"]
    assert check(MODULE, "") == []


def test_global_is_a_breach() -> None:
    source = f"{CLEAN}x = 1\n\n\ndef change() -> None:\n    global x\n    x = 2\n"
    assert check(MODULE, source) == [
        "pipeline/stage.py:6: no `global`: construct it in wiring and hand it in"
    ]


def test_migrations_may_be_long() -> None:
    assert check(Path("routing/migrations/0001_initial.py"), "x = 1\n" * 1000) == []
