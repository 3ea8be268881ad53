"""Every code that the gateway's source gives an error is in the catalogue, so that metrics always name it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from dialects.codes import OWN_CODES
from pipeline.failures import as_gateway_error
from providers.wire import Reason, UpstreamError
from routing.allowances import LimitKind

ROOT = Path(__file__).resolve().parent.parent
_ROOMS = ("accounts", "apiv1", "dialects", "gateway_project", "pipeline", "providers", "routing")
_FIRST = frozenset({"Detail", "_busy"})  # their first argument is a code
_MAKERS = _FIRST | {"bad_request", "_refused", "GatewayError", "_invalid", "refuse"}


def _codes(path: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name not in _MAKERS:
            continue
        given = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
        if name in _FIRST:
            given += node.args[:1]
        for value in given:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value, f"{path.relative_to(ROOT)}:{node.lineno}"


def test_every_code_in_the_source_is_known() -> None:
    sources = [path for room in _ROOMS for path in (ROOT / room).rglob("*.py") if "tests" not in path.parts]
    found = [one for path in sources for one in _codes(path)]
    assert len(found) > 40, "the reader has lost its way"
    assert [(code, place) for code, place in found if code not in OWN_CODES] == []


@pytest.mark.parametrize("reason", get_args(Reason))
def test_every_failure_below_http_is_known(reason: Reason) -> None:
    assert as_gateway_error(UpstreamError(reason, "", sent=False)).code in OWN_CODES


@pytest.mark.parametrize("kind", get_args(LimitKind))
def test_every_kind_of_limit_is_known(kind: LimitKind) -> None:
    assert kind in OWN_CODES
