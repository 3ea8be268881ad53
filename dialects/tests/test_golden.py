"""The pairs against their golden files, and what the providers' rules and the official SDKs say of them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from dialects.tests import golden_files, judges

_PAIRS = tuple(golden_files.PAIRS)
_JUDGES = {
    "chat": (judges.is_completion, judges.is_chunk),
    "messages": (judges.is_message, judges.is_event),
    "responses": (judges.is_response, judges.is_response_event),
}


def _cases(part: str) -> list[Any]:
    return [
        pytest.param(pair, case, id=f"{pair}: {case['id']}")
        for pair in _PAIRS
        for case in golden_files.load(pair, part)
    ]


@pytest.mark.parametrize(("pair", "case"), _cases("requests"))
def test_request(pair: str, case: dict[str, Any]) -> None:
    before = copy.deepcopy(case["request"])
    outcome = golden_files.run_request(pair, case)
    assert outcome == case["expect"]
    assert case["request"] == before, "the client's body is never changed"


@pytest.mark.parametrize(("pair", "case"), _cases("requests"))
def test_provider_accepts_the_request(pair: str, case: dict[str, Any]) -> None:
    body = copy.deepcopy(case["expect"].get("upstream"))
    if body is None or body["model"] == "glm-5":
        return
    if pair.endswith("via_messages"):
        judges.anthropic_accepts(body)
    else:
        judges.openai_accepts(body)


@pytest.mark.parametrize(("pair", "case"), _cases("answers"))
def test_answer(pair: str, case: dict[str, Any]) -> None:
    outcome = golden_files.run_answer(pair, case)
    assert outcome == case["expect"]
    if "answer" in outcome:
        _JUDGES[pair.partition("_")[0]][0](outcome["answer"])


@pytest.mark.parametrize(("pair", "case"), _cases("streams"))
def test_stream(pair: str, case: dict[str, Any]) -> None:
    outcome = golden_files.run_stream(pair, case)
    assert outcome == case["expect"]
    judge = _JUDGES[pair.partition("_")[0]][1]
    for name, data in outcome["events"]:
        if data != "[DONE]":
            judge(data)
            assert name == data.get("type", "")
