"""S31 to S34: whose answers are given again, which never are, and what a hit is to limits, books and
clients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.tests.caching import cached, metric, say, verdict
from routing.allowances import Limit
from routing.caching import Purge
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import (
    CHAT_ANTHROPIC,
    CHAT_OPENAI,
    MESSAGES_ANTHROPIC,
    MESSAGES_OPENAI,
    OTHER_PAIRS,
    PAIRS,
    PROMPT,
    TEXT,
    Pair,
)

RESPONSES = next(pair for pair in OTHER_PAIRS if pair.surface == "responses" and pair.same)
COMPLETIONS = next(pair for pair in OTHER_PAIRS if pair.surface == "completions" and pair.same)
ALL = (*PAIRS, *OTHER_PAIRS)


def asked(fake: FakeUpstream) -> int:
    return len(fake.requests)


# --- A hit


@pytest.mark.parametrize("pair", ALL, ids=str)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_same_request_is_answered_again_without_a_provider(
    live: LiveGateway, fake: FakeUpstream, pair: Pair, stream: bool
) -> None:
    cached(live, pair)
    first = say(live, pair, stream=stream)
    again = say(live, pair, stream=stream)
    assert (first.status, again.status) == (200, 200)
    assert (verdict(first), verdict(again)) == ("miss", "hit")
    assert asked(fake) == 1
    if stream:
        assert again.complete
        assert [event for event in again.events if event[0] != "ping"] == [
            event for event in first.events if event[0] != "ping"
        ]
    else:
        assert again.json == first.json
    assert again.text == TEXT
    assert again.header("content-type") == first.header("content-type")


@pytest.mark.parametrize("pair", ALL, ids=str)
@pytest.mark.parametrize("stream", [False, True], ids=["whole_first", "stream_first"])
def test_a_stream_answers_a_whole_request_and_the_other_way_round(
    live: LiveGateway, fake: FakeUpstream, pair: Pair, stream: bool
) -> None:
    cached(live, pair)
    first = say(live, pair, stream=stream)
    other = say(live, pair, stream=not stream)
    assert verdict(other) == "hit"
    assert asked(fake) == 1
    assert first.text == other.text == TEXT
    assert other.streamed is not stream
    if other.streamed:
        assert other.complete
        assert len(other.finishes) == 1


@pytest.mark.parametrize("pair", [CHAT_OPENAI, CHAT_ANTHROPIC, COMPLETIONS], ids=str)
@pytest.mark.parametrize("wanted", [False, True], ids=["usage_later", "usage_first"])
def test_who_asks_for_the_usage_chunk_gets_it_and_nobody_else(
    live: LiveGateway, pair: Pair, wanted: bool
) -> None:
    cached(live, pair)
    streams = []
    for wants in (wanted, not wanted):
        options: dict[str, Any] = {"stream_options": {"include_usage": True}} if wants else {}
        streams.append((wants, say(live, pair, stream=True, **options)))
    assert [verdict(stream) for _, stream in streams] == ["miss", "hit"]
    used = live.wait_record().usage
    assert used is not None
    for wants, stream in streams:
        usages = [data["usage"] for _, data in stream.events if data != "[DONE]" and data.get("usage")]
        assert len(usages) == int(wants)
        for usage in usages:
            assert usage["prompt_tokens"] == used.input_tokens
            assert usage["completion_tokens"] == used.output_tokens
        assert stream.events[-1] == ("", "[DONE]")


def test_s34_a_hit_is_logged_and_costs_nothing(live: LiveGateway) -> None:
    cached(live, CHAT_OPENAI)
    say(live, CHAT_OPENAI)
    hits = metric(live, "gateway_cache_requests_total", route="*", result="hit")
    saved = metric(live, "gateway_cache_saved_usd_total", route="*")
    hit = say(live, CHAT_OPENAI)
    miss, record = live.wait_record(1), live.wait_record(2)
    assert (miss.cache, miss.saved) == ("miss", None)
    assert miss.cost
    assert (record.cache, record.cost, record.saved) == ("hit", 0, miss.cost)
    assert (record.outcome, record.status, record.usage, record.attempts) == ("ok", 200, None, [])
    assert (record.provider, record.route, record.team) == ("", "*", "default")
    # In the ledger it is a row of its own, without an attempt and without a charge.
    (row,) = (line for line in live.ledger.lines if line["request_id"] == record.request_id)
    assert row["attempts"] == []
    said = {
        name: row["end"][name]
        for name in ("cache", "cost", "saved", "tries", "input_tokens", "output_tokens")
    }
    assert said == {
        "cache": "hit",
        "cost": 0,
        "saved": miss.cost,
        "tries": 0,
        "input_tokens": 0,
        "output_tokens": 0,
    }
    assert hit.header("x-gateway-cache-saved-usd") == f"{miss.cost / 1e9:.9f}"
    assert hit.header("age") == "0"
    assert metric(live, "gateway_cache_requests_total", route="*", result="hit") == hits + 1
    now = metric(live, "gateway_cache_saved_usd_total", route="*")
    assert now - saved == pytest.approx(miss.cost / 1e9)


def test_s34_a_hit_needs_a_key_that_may_use_the_model(live: LiveGateway, fake: FakeUpstream) -> None:
    cached(live, CHAT_OPENAI)
    say(live, CHAT_OPENAI)
    assert say(live, CHAT_OPENAI, key="gw-" + "0" * 40).status == 401
    current = live.holder.current
    keys = {digest: replace(key, allowed_models=("gpt-3*",)) for digest, key in current.keys.items()}
    live.use(replace(current, keys=keys))
    refused = say(live, CHAT_OPENAI)
    assert (refused.status, refused.error()["code"]) == (403, "model_not_allowed")
    assert asked(fake) == 1


def test_s34_a_hit_counts_as_a_request_and_uses_no_tokens(live: LiveGateway) -> None:
    cached(live, CHAT_OPENAI)
    current = live.holder.current
    limit = Limit(id=1, kind="requests", amount=2, key_id=1)
    keys = {digest: replace(key, limits=(limit,)) for digest, key in current.keys.items()}
    live.use(replace(current, keys=keys))
    assert [say(live, CHAT_OPENAI).status for _ in range(3)] == [200, 200, 429]
    assert [record.cache for record in live.records[:2]] == ["miss", "hit"]


# --- S31: whose


def test_s31_another_team_never_gets_it(live: LiveGateway, fake: FakeUpstream) -> None:
    teams = cached(live, CHAT_OPENAI)
    assert verdict(say(live, CHAT_OPENAI, key=teams.first)) == "miss"
    assert verdict(say(live, CHAT_OPENAI, key=teams.colleague)) == "hit"
    strange = say(live, CHAT_OPENAI, key=teams.stranger)
    assert verdict(strange) == "miss"
    assert strange.header("age") is None
    assert asked(fake) == 2


def test_s31_another_key_of_the_team_where_the_route_says_so(live: LiveGateway) -> None:
    teams = cached(live, CHAT_OPENAI, scope="key")
    assert verdict(say(live, CHAT_OPENAI, key=teams.first)) == "miss"
    assert verdict(say(live, CHAT_OPENAI, key=teams.colleague)) == "miss"
    assert verdict(say(live, CHAT_OPENAI, key=teams.first)) == "hit"


def test_s31_what_another_team_kept_cannot_be_read_by_moving_it(live: LiveGateway) -> None:
    """Were two teams to meet under one key, the entry itself would still say whose it is."""
    teams = cached(live, CHAT_OPENAI)
    say(live, CHAT_OPENAI, key=teams.first)
    store: Any = live.shelf.store
    (held,) = [held for shelf in store._shelves.values() for held in shelf.values()]

    async def get(_place: object, keys: Any) -> list[bytes]:
        return [held.value for _ in keys]

    live.shelf.store = type("Everything", (), {"get": staticmethod(get), "put": store.put})()
    assert verdict(say(live, CHAT_OPENAI, key=teams.stranger)) == "miss"


@pytest.mark.parametrize(
    ("pair", "change"),
    [
        (CHAT_OPENAI, {"model": "gpt-4o-mini"}),
        (CHAT_OPENAI, {"seed": 7}),
        (CHAT_OPENAI, {"max_tokens": 100}),
        (
            CHAT_OPENAI,
            {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": PROMPT}]},
        ),
        (CHAT_OPENAI, {"something_unheard_of": 1}),
        (MESSAGES_ANTHROPIC, {"system": "x"}),
        (RESPONSES, {"instructions": "x"}),
    ],
)
def test_another_request_is_another_answer(live: LiveGateway, pair: Pair, change: dict[str, Any]) -> None:
    cached(live, pair)
    say(live, pair)
    assert verdict(say(live, pair, **change)) == "miss"


@pytest.mark.parametrize(
    "change",
    [
        {"user": "somebody"},
        {"metadata": {"run": "7"}},
        {"prompt_cache_key": "k"},
        {"stream_options": {"include_usage": True}, "stream": True},
    ],
)
def test_the_same_request_in_other_words_is_the_same(live: LiveGateway, change: dict[str, Any]) -> None:
    cached(live, CHAT_OPENAI)
    say(live, CHAT_OPENAI, temperature=0, top_p=1.0)
    assert verdict(say(live, CHAT_OPENAI, top_p=1, temperature=0.0, **change)) == "hit"


def test_a_beta_that_changes_the_answer_is_part_of_the_request(live: LiveGateway) -> None:
    cached(live, MESSAGES_ANTHROPIC)
    betas = ("a-2025-01-01,b-2025-01-01", "b-2025-01-01, a-2025-01-01", "c-2025-01-01")
    seen = [verdict(say(live, MESSAGES_ANTHROPIC, sent={"anthropic-beta": beta})) for beta in betas]
    assert seen == ["miss", "hit", "miss"]


def test_surfaces_do_not_share(live: LiveGateway, fake: FakeUpstream) -> None:
    cached(live, MESSAGES_OPENAI)
    body: dict[str, Any] = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 500}
    assert verdict(say(live, MESSAGES_OPENAI, **body)) == "miss"
    assert verdict(say(live, CHAT_OPENAI, **body)) == "miss"


@pytest.mark.parametrize(
    "change",
    [
        {"upstream_model": "gpt-4o-mini"},
        {"body_patch": {"seed": 7}},
        {"provider": {"base_url": "http://127.0.0.1:9/v1"}},
        {"enabled": False},
    ],
    ids=["model", "patch", "address", "disabled"],
)
def test_a_route_that_would_answer_differently_starts_anew(live: LiveGateway, change: dict[str, Any]) -> None:
    cached(live, CHAT_OPENAI)
    say(live, CHAT_OPENAI)
    current = live.holder.current
    (route,) = current.routes
    (target,) = route.targets
    if "provider" in change:
        change = {"provider": replace(target.provider, **change["provider"])}
    changed = replace(route, targets=(replace(target, **change),))
    live.use(replace(current, routes=(changed,), revision=8))
    assert verdict(say(live, CHAT_OPENAI)) == "miss"


def test_another_revision_alone_empties_nothing(live: LiveGateway) -> None:
    cached(live, CHAT_OPENAI)
    say(live, CHAT_OPENAI)
    current = live.holder.current
    (route,) = current.routes
    (target,) = route.targets
    changed = replace(route, tries=2, targets=(replace(target, weight=5),))
    live.use(replace(current, routes=(changed,), revision=8))
    assert verdict(say(live, CHAT_OPENAI)) == "hit"


@pytest.mark.parametrize(
    ("purge", "seen"),
    [
        (Purge(5), ("miss", "miss")),
        (Purge(5, team_id=1), ("miss", "hit")),
        (Purge(5, team_id=2), ("hit", "miss")),
        (Purge(5, route_id=-1), ("hit", "hit")),
    ],
    ids=["all", "team", "other_team", "other_route"],
)
def test_s33_after_a_purge_nobody_gets_it(live: LiveGateway, purge: Purge, seen: tuple[str, str]) -> None:
    teams = cached(live, CHAT_OPENAI)
    for key in (teams.first, teams.stranger):
        say(live, CHAT_OPENAI, key=key)
    live.use(replace(live.holder.current, purges=(purge,)))
    assert tuple(verdict(say(live, CHAT_OPENAI, key=key)) for key in (teams.first, teams.stranger)) == seen


# --- S32: what the client wants


def test_s32_no_cache_asks_anew_and_keeps_what_comes(live: LiveGateway, fake: FakeUpstream) -> None:
    cached(live, CHAT_OPENAI)
    say(live, CHAT_OPENAI)
    fresh = say(live, CHAT_OPENAI, sent={"cache-control": "No-Cache"})
    assert verdict(fresh) == "bypass"
    assert asked(fake) == 2
    assert verdict(say(live, CHAT_OPENAI)) == "hit"


def test_s32_no_store_neither_takes_nor_leaves(live: LiveGateway, fake: FakeUpstream) -> None:
    cached(live, CHAT_OPENAI)
    assert verdict(say(live, CHAT_OPENAI, sent={"cache-control": "no-store"})) == "bypass"
    assert verdict(say(live, CHAT_OPENAI)) == "miss"
    assert verdict(say(live, CHAT_OPENAI, sent={"cache-control": "private, no-store"})) == "bypass"
    assert asked(fake) == 3


@pytest.mark.parametrize(
    ("age", "wanted", "seen"),
    [
        (50, "max-age=60", "hit"),
        (70, "max-age=60", "miss"),
        (0, "max-age=0", "bypass"),
        (0, "max-age=soon", "bypass"),
        (70, "max-age=999999999", "hit"),
        (150, "", "miss"),
    ],
)
def test_s32_max_age(live: LiveGateway, age: float, wanted: str, seen: str) -> None:
    cached(live, CHAT_OPENAI, ttl=100)
    say(live, CHAT_OPENAI)
    live.wall += age
    reply = say(live, CHAT_OPENAI, sent={"cache-control": wanted})
    assert verdict(reply) == seen
    assert reply.header("age") == (str(age) if seen == "hit" else None)


@pytest.mark.parametrize(("wanted", "kept"), [("30", 30.0), ("5000", 100.0)])
def test_s32_a_client_may_shorten_the_time_and_not_lengthen_it(
    live: LiveGateway, wanted: str, kept: float
) -> None:
    cached(live, CHAT_OPENAI, ttl=100)
    say(live, CHAT_OPENAI, sent={"x-gateway-cache-ttl": wanted})
    live.skipped_cache += kept - 1
    assert verdict(say(live, CHAT_OPENAI)) == "hit"
    live.skipped_cache += 1
    assert verdict(say(live, CHAT_OPENAI)) == "miss"


def test_s32_a_time_of_0_keeps_nothing_and_one_that_is_no_number_is_refused(live: LiveGateway) -> None:
    cached(live, CHAT_OPENAI)
    assert verdict(say(live, CHAT_OPENAI, sent={"x-gateway-cache-ttl": "0"})) == "miss"
    assert verdict(say(live, CHAT_OPENAI)) == "miss"
    refused = say(live, CHAT_OPENAI, sent={"x-gateway-cache-ttl": "-1"})
    assert (refused.status, refused.error()["code"]) == (400, "invalid_header")


# --- The rest


def test_what_could_not_travel_is_told_again(live: LiveGateway) -> None:
    cached(live, CHAT_ANTHROPIC)
    first = say(live, CHAT_ANTHROPIC, seed=7)
    again = say(live, CHAT_ANTHROPIC, seed=7)
    assert verdict(again) == "hit"
    assert first.header("x-gateway-dropped") == again.header("x-gateway-dropped") == "seed"


def test_a_route_without_a_cache_says_nothing_of_one(live: LiveGateway, fake: FakeUpstream) -> None:
    for _ in range(2):
        assert verdict(say(live, CHAT_OPENAI)) is None
    assert asked(fake) == 2
    assert live.wait_record().cache == ""
