"""An explanation says what the functions that route, translate and charge say, and takes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from dialects.table import DIALECTS
from dialects.types import Facts, ModelFacts
from pipeline.explain import explain
from pipeline.explanation import Explanation, Means, Question
from pipeline.live import LiveState
from pipeline.slots import Slots
from providers.kinds import KINDS
from providers.wire import Timeouts
from routing.allowances import Budget, Limit
from routing.plan import Live
from routing.snapshot import (
    ApiKey,
    CatalogueModel,
    Credential,
    Price,
    Provider,
    Route,
    Snapshot,
    Target,
    Team,
)

NOW = datetime(2030, 5, 17, 12, tzinfo=UTC)
CHAT = DIALECTS["chat"]


def provider(name: str, number: int) -> Provider:
    keys = (Credential(number, "", "", "s"),)
    return Provider(number, name, KINDS[name], "https://x", Timeouts(), keys)


OPENAI, ANTHROPIC = provider("openai", 1), provider("anthropic", 2)
KEY = ApiKey(id=5, prefix="gw-abc", digest=b"", team=Team(3, "crew"))
PICTURE = [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]
CATALOGUE = {
    (kind, name): CatalogueModel(kind, ModelFacts(name, 128_000, None, frozenset(words)), Price(*prices))
    for kind, name, words, prices in (
        ("openai", "gpt-4o", {"tools", "vision", "sampling"}, (2.5, 10.0)),
        ("openai", "blind", {"tools", "sampling"}, (1.0, 1.0)),
    )
}


def snapshot(*targets: Target, **route: Any) -> Snapshot:
    made = Route(id=1, name="ours", pattern="m-*", targets=targets)
    return Snapshot(9, (replace(made, **route),), catalogue=CATALOGUE)


def told(
    by: Snapshot,
    key: ApiKey | None = KEY,
    body: dict[str, Any] | None = None,
    live: Live | None = None,
    **means: Any,
) -> Explanation:
    facts = Facts(model="m-1") if body is None else CHAT.facts({"model": "m-1", **body})
    whole = None if body is None else {"model": "m-1", **body}
    known = Means(NOW, means.get("spent", lambda *_: 0), live, means.get("counted"))
    return explain(by, Question(CHAT, facts, key, whole), known)


def says(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


def test_shares_are_those_that_the_plan_draws() -> None:
    said = told(snapshot(Target(1, OPENAI, "a", weight=9), Target(2, OPENAI, "b", weight=1)))
    assert [each.model for each in said.targets] == ["a", "b"]
    assert said.targets[0].first == pytest.approx(0.9, abs=0.04)
    assert sum(each.first for each in said.targets) == pytest.approx(1)
    assert said.outcome.startswith("It goes to openai/a first (")
    assert said == told(snapshot(Target(1, OPENAI, "a", weight=9), Target(2, OPENAI, "b", weight=1)))


def test_each_target_that_is_no_candidate_says_why() -> None:
    said = told(
        snapshot(
            Target(1, OPENAI, "off", enabled=False),
            Target(2, OPENAI, "gpt-4o", tier=1),
            Target(3, OPENAI, "spare", after=frozenset({"outage"})),
            Target(4, OPENAI, "blind"),
        ),
        body={"messages": [{"role": "user", "content": PICTURE}]},
    )
    assert [(each.model, each.state, each.reason) for each in said.targets] == [
        ("gpt-4o", "candidate", None),
        ("spare", "spare", "it waits for a failure: outage"),
        ("off", "left out", "the target is disabled"),
        ("blind", "left out", "its model lacks vision"),
    ]
    assert said.needs == ["vision"]


def test_who_is_asked_although_it_cannot_says_so() -> None:
    said = told(
        snapshot(Target(1, OPENAI, "blind")), body={"messages": [{"role": "user", "content": PICTURE}]}
    )
    assert (said.targets[0].state, said.targets[0].lacking) == ("candidate", "its model lacks vision")


def test_what_would_be_lost_on_the_way_to_each() -> None:
    said = told(
        snapshot(Target(1, ANTHROPIC, "claude-opus-4-5"), Target(2, OPENAI, "gpt-4o", tier=1)),
        body=says("Hello", logit_bias={"1": 2}, seed=4),
    )
    claude, gpt = said.targets
    assert (claude.spoken, claude.passes) == ("messages", False)
    assert claude.dropped is not None
    assert {"logit_bias", "seed"} <= set(claude.dropped)
    assert (gpt.spoken, gpt.passes, gpt.dropped) == ("chat", True, [])


def test_a_strict_route_goes_to_who_loses_nothing() -> None:
    said = told(
        snapshot(
            Target(1, ANTHROPIC, "claude-opus-4-5"), Target(2, OPENAI, "gpt-4o", tier=1), losses="strict"
        ),
        body=says("Hello", logit_bias={"1": 2}),
    )
    assert said.outcome == "It goes to openai/gpt-4o first."


def test_content_that_cannot_travel_is_refused_by_name() -> None:
    sound = [{"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}}]
    said = told(
        snapshot(Target(1, ANTHROPIC, "claude-opus-4-5")),
        body={"messages": [{"role": "user", "content": sound}]},
    )
    assert said.targets[0].refuses
    assert said.outcome == "Refused with 400: it cannot travel to any of the targets."


def test_nothing_is_said_of_a_translation_without_a_body() -> None:
    [only] = told(snapshot(Target(1, ANTHROPIC, "claude-opus-4-5"))).targets
    assert (only.spoken, only.dropped, only.refuses) == ("messages", None, None)


def test_no_text_of_a_request_is_in_it() -> None:
    by = snapshot(Target(1, ANTHROPIC, "claude-opus-4-5"), Target(2, OPENAI, "gpt-4o"))
    said = told(by, body=says("a secret canary", user="canary-user", seed=1))
    assert b"canary" not in msgspec.json.encode(said)


def test_the_cost_is_that_of_the_prices_and_unknown_is_not_free() -> None:
    by = snapshot(Target(1, OPENAI, "gpt-4o"), Target(2, OPENAI, "unheard-of", tier=1))
    said = told(by, body=says("x" * 4000, max_tokens=1000))
    assert (said.input_tokens, said.output_tokens) == (1000, 1000)
    assert said.targets[0].cost == 1000 * 2500 + 1000 * 10_000
    assert said.targets[1].cost is None


@pytest.mark.parametrize(
    ("key", "model", "outcome"),
    [
        ({"allowed_models": ("gpt-*",)}, "m-1", "Refused with 403"),
        ({"expires_at": NOW - timedelta(seconds=1)}, "m-1", "Refused with 401"),
        ({}, "n-1", "Refused with 404"),
    ],
)
def test_why_a_key_is_refused(key: dict[str, Any], model: str, outcome: str) -> None:
    by = snapshot(Target(1, OPENAI, "gpt-4o"))
    said = explain(by, Question(CHAT, Facts(model), replace(KEY, **key)), Means(NOW, lambda *_: 0))
    assert said.outcome.startswith(outcome)


def test_what_is_left_of_limits_and_budgets() -> None:
    key = replace(
        KEY,
        limits=(Limit(1, "requests", 10, key_id=5), Limit(2, "tokens", 500, model="other-*")),
        budgets=(Budget(3, "usd", 1_000_000_000, "month"), Budget(4, "tokens", 5_000, hard=False)),
    )
    by = snapshot(Target(1, OPENAI, "gpt-4o"))
    spent = {3: 990_000_000, 4: 9_000}
    said = told(by, key, says("x", max_tokens=100), spent=lambda budget, _: spent[budget.id])
    assert [(each.id, each.used, each.left, each.fits) for each in said.limits] == [
        (1, None, None, None),
        (3, 990_000_000, 10_000_000, True),
        (4, 9_000, 0, True),
    ]
    assert said.limits[1].resets == datetime(2030, 6, 1, tzinfo=UTC)
    counted = told(by, key, says("x", max_tokens=100), counted=lambda asks: [10, 7, 7])
    assert (counted.limits[0].left, counted.limits[0].fits) == (0, False)
    assert counted.outcome == "Refused with 429: the limit of key has no room for it."


def test_a_key_that_is_not_named_sees_the_common_routes_only() -> None:
    by = snapshot(Target(1, OPENAI, "gpt-4o"), team_id=3)
    assert told(by).route is not None
    assert told(by, None).outcome.startswith("Refused with 404")


def test_the_state_of_this_moment() -> None:
    live = LiveState(Slots())
    one, two = Target(1, OPENAI, "a"), Target(2, OPENAI, "b", tier=1, max_in_flight=1)
    for _ in range(5):
        ticket = live.start(one)
        assert ticket is not None
        ticket.done("failed")
    held = live.start(two)
    assert held is not None
    said = told(snapshot(one, two), live=live)
    assert said.live
    assert [(each.model, each.state, each.in_flight) for each in said.targets] == [
        ("b", "full", 1),
        ("a", "left out", 0),
    ]
    assert said.targets[1].reason is not None
    assert said.targets[1].reason.startswith("its breaker is open for ")
    assert said.outcome == "It waits for a place."
    held.done("neutral")
    unknown = told(snapshot(one, two))
    assert not unknown.live
    assert unknown.targets[0].in_flight is None


def test_it_is_the_plan_of_the_call_itself_with_session_and_key() -> None:
    by = snapshot(*(Target(number, OPENAI, str(number)) for number in range(1, 6)), affinity="key")
    said = told(by)
    assert sorted(each.first for each in said.targets) == [0, 0, 0, 0, 1]


def test_a_provider_at_its_limit_is_passed_over() -> None:
    limited = replace(OPENAI, limits=(Limit(7, "requests", 10),))
    by = snapshot(Target(1, limited, "gpt-4o"), Target(2, ANTHROPIC, "claude-opus-4-5", tier=1))
    assert told(by).outcome == "It goes to openai/gpt-4o first."
    full = told(by, counted=lambda asks: [10 for _ in asks])
    assert [(each.id, each.left, each.fits) for each in full.targets[0].limits] == [(7, 0, False)]
    assert full.targets[1].limits == []
    assert full.outcome == "It goes to anthropic/claude-opus-4-5 first."
    only = told(snapshot(Target(1, limited, "gpt-4o")), counted=lambda asks: [10 for _ in asks])
    assert only.outcome == "Refused with 429: the providers' limits have no room for it."
