"""The catalogue and its tests know of each other: no row without a test, no test without a row."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dialects import errors

_ROOT = Path(__file__).resolve().parents[2]
_PAGE = (_ROOT / "docs" / "faults.md").read_text()
ROWS = re.findall(r"^\| ([A-Z])(\d+) \|", _PAGE, re.MULTILINE)
_NAME = re.compile(r"test_([a-z])0*(\d+)_")
# Names of classes in the page, and the faults that they are.
CLASSES = {
    "AUTH": errors.AUTH,
    "PERM": errors.PERMISSION,
    "NOMODEL": errors.NO_MODEL,
    "BADREQ": errors.BAD_REQUEST,
    "METHOD": errors.BAD_METHOD,
    "MEDIA": errors.MEDIA,
    "SIZE": errors.SIZE,
    "SLOWREQ": errors.SLOW_REQUEST,
    "RATE": errors.RATE,
    "BUDGET": errors.BUDGET,
    "BUSY": errors.BUSY,
    "DEP": errors.DEPENDENCY,
    "UPBAD": errors.UPSTREAM_BAD,
    "UPTIME": errors.UPSTREAM_TIMEOUT,
    "INT": errors.INTERNAL,
}


def _tests(files: Iterator[Path]) -> set[tuple[str, str]]:
    """The rows that functions in these files are named for."""
    found: set[tuple[str, str]] = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                match = _NAME.match(node.name)
                if match:
                    found.add((match[1].upper(), match[2]))
    return found


def _files() -> Iterator[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.py"], cwd=_ROOT, check=True, capture_output=True,
        text=True,
    ).stdout  # fmt: skip
    return (_ROOT / name for name in listed.splitlines() if Path(name).name.startswith("test_"))


def test_no_row_is_there_twice() -> None:
    assert len(ROWS) == len(set(ROWS))
    assert len([row for row in ROWS if row[0] == "U"]) == 35
    assert len([row for row in ROWS if row[0] == "C"]) == 23


def test_every_row_has_a_test() -> None:
    tested = _tests(_files())
    assert not [f"{kind}{number}" for kind, number in ROWS if (kind, number) not in tested]


def test_every_test_has_a_row() -> None:
    here = _tests(Path(__file__).parent.glob("test_*.py"))
    assert not [f"{kind}{number}" for kind, number in here if (kind, number) not in ROWS]


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_of_errors_is_what_the_page_says(name: str) -> None:
    fault = CLASSES[name]
    row = re.search(rf"^\| {name} \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", _PAGE, re.MULTILINE)
    assert row
    status, openai, anthropic, again = row.groups()
    assert status.startswith(str(fault.status))
    assert fault.anthropic_status is None or status.endswith(str(fault.anthropic_status))
    assert openai.startswith(f"`{fault.openai_type}`")
    assert anthropic == f"`{fault.anthropic_type}`"
    assert again.startswith("true" if fault.should_retry else "false")


def test_every_fault_is_in_the_page() -> None:
    known = {fault for fault in vars(errors).values() if isinstance(fault, errors.Fault)}
    # An address that is not there is told as a model that is not.
    assert known - set(CLASSES.values()) == {errors.NOT_FOUND}
