"""The page on security and its tests know of each other: no row without a test, no test without a row."""

from __future__ import annotations

import ast
import re
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_PAGE = (_ROOT / "docs" / "security.md").read_text()
ROWS = {
    int(number): tests for number, tests in re.findall(r"^\| S(\d+) \|.*\| ([^|]+) \|$", _PAGE, re.MULTILINE)
}
# In these files S is a scenario of failover.
_OTHERS = {"pipeline/tests/test_failover_scenarios.py"}


def _names() -> set[str]:
    """Every test function of the project."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*test_*.py"], cwd=_ROOT, check=True,
        capture_output=True, text=True,
    ).stdout  # fmt: skip
    found: set[str] = set()
    for name in listed.splitlines():
        if name not in _OTHERS and (_ROOT / name).is_file():
            found |= {
                node.name
                for node in ast.walk(ast.parse((_ROOT / name).read_text()))
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
            }
    return found


NAMES = _names()


def _ids(name: str) -> list[int]:
    """The rows that a test is named for: `test_s16_s17_...` is for two."""
    numbers = re.match(r"test_((?:s\d+_)+)", name)
    return [int(number) for number in re.findall(r"\d+", numbers[1])] if numbers else []


def test_the_rows_are_numbered_without_a_gap() -> None:
    assert list(ROWS) == list(range(1, 59))
    assert len(re.findall(r"^\| S\d+ \|", _PAGE, re.MULTILINE)) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"S{row}")
def test_every_row_has_tests_that_there_are(row: int) -> None:
    named = re.findall(r"`([^`]+)`", ROWS[row])
    assert named
    assert not [name for name in named if not any(fnmatchcase(test, name) for test in NAMES)]


def test_every_test_that_is_named_for_a_row_is_listed_there() -> None:
    unlisted = [
        (row, name)
        for name in NAMES
        for row in _ids(name)
        if not any(fnmatchcase(name, listed) for listed in re.findall(r"`([^`]+)`", ROWS.get(row, "")))
    ]
    assert not unlisted
