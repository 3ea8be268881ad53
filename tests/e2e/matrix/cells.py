"""The cells of the matrix and their golden files, one a pair.

`MATRIX=write pytest tests/e2e/test_matrix.py` writes the outcomes anew; the diff is for a reader to judge.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.e2e.matrix import play
from tests.e2e.matrix.scenarios import ASKED, SCENARIOS, Body
from tests.e2e.matrix.upstreams import ERRORS, FAULTS, streams
from tests.e2e.sdks import Stage

GOLDEN = Path(__file__).parents[1] / "golden"
FIRST = "stream: error first"


def names(client: str) -> list[str]:
    """The cells of a client's row of the table, in the order of its golden files."""
    errors = [f"error: {name}" for name in ERRORS]
    faults = [FIRST, *FAULTS] if streams(client) else []
    return [name for name in SCENARIOS if name in ASKED[client]] + errors + faults


def cell(stage: Stage, client: str, upstream: str, name: str) -> Body:
    """What happens in one cell."""
    kind, _, of = name.partition(": ")
    if kind == "error":
        return play.error(stage, client, upstream, of)
    if name == FIRST:
        return play.first_event(stage, client, upstream)
    if kind == "stream":
        return play.broken(stage, client, upstream, name)
    return play.scenario(stage, client, upstream, name)


def golden(client: str, upstream: str) -> dict[str, Any]:
    """The outcomes that are expected, by cell; events as lines of JSON."""
    path = GOLDEN / f"{client}_via_{upstream}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def lines(outcome: Mapping[str, Any]) -> Body:
    """An outcome as golden files have it: each event a line."""
    told = dict(outcome)
    if "events" in told:
        told["events"] = [json.dumps(event, ensure_ascii=False) for event in told["events"]]
    return told


def write(client: str, upstream: str, name: str, outcome: Body) -> None:
    """Make this the outcome that is expected of a cell."""
    told = {**golden(client, upstream), name: outcome}
    known = {one: told[one] for one in names(client) if one in told}
    text = json.dumps(known, ensure_ascii=False, indent=1) + "\n"
    (GOLDEN / f"{client}_via_{upstream}.json").write_text(text, encoding="utf-8")
