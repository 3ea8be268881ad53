"""The golden matrix: every client's dialect before every provider's, in every scenario, class of error and
way in which a stream breaks off."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from dialects.table import TRANSLATORS
from tests.e2e.matrix import cells
from tests.e2e.matrix.scenarios import ASKED, NOT_ASKED, SCENARIOS
from tests.e2e.matrix.upstreams import CLIENTS, PAIRS, UPSTREAMS
from tests.e2e.sdks import Stage

CELLS = [
    pytest.param(client, upstream, name, id=f"{client}-{upstream}: {name}")
    for client, upstream in PAIRS
    for name in cells.names(client)
]


@pytest.mark.parametrize(("client", "upstream", "name"), CELLS)
def test_cell(stage: Stage, client: str, upstream: str, name: str) -> None:
    outcome = json.loads(json.dumps(cells.lines(cells.cell(stage, client, upstream, name))))
    if os.environ.get("MATRIX") == "write":
        cells.write(client, upstream, name, outcome)
        pytest.skip("written, not compared")
    assert outcome == cells.golden(client, upstream)[name]


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_no_cell_is_missing(client: str, upstream: str) -> None:
    """And none is left over from a scenario that is no more."""
    assert list(cells.golden(client, upstream)) == cells.names(client)


def test_every_pair_of_the_table_is_in_the_matrix() -> None:
    assert set(PAIRS) >= set(TRANSLATORS)
    assert {client for client, _ in PAIRS} == set(CLIENTS) == set(ASKED)
    assert {upstream for _, upstream in PAIRS} == set(UPSTREAMS)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_scenario_that_a_client_does_not_ask_for_has_a_reason(client: str) -> None:
    asked, reasons = set(ASKED[client]), NOT_ASKED[client]
    assert asked.isdisjoint(reasons)
    assert asked | set(reasons) == set(SCENARIOS)
    assert all(len(reason) > 20 for reason in reasons.values())


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in _leaves(inner)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in _leaves(inner)]
    return [value]


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_no_golden_file_tells_what_is_the_providers_own(client: str, upstream: str) -> None:
    told = " ".join(str(leaf) for leaf in _leaves(cells.golden(client, upstream)))
    assert not [secret for secret in ("sk-proj", "10.0.0.7") if secret in told]
