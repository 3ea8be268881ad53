"""An explanation says what the cache would do, and the next call has just that."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dialects.table import DIALECTS
from dialects.types import Facts
from pipeline.cache_memory import MemoryCache
from pipeline.cache_stores import Place
from pipeline.explain import explain
from pipeline.explanation import Explanation, Means, Question
from pipeline.tests.caching import cached, say, verdict
from routing.snapshot import ApiKey
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import CHAT_ANTHROPIC, CHAT_OPENAI, MESSAGES_OPENAI, Pair, request_body


def told(
    live: LiveGateway,
    pair: Pair,
    key: str,
    *,
    later: timedelta = timedelta(),
    known: bool = True,
    **fields: Any,
) -> Explanation:
    """What is said of the request that `say` makes."""
    store = live.shelf.store
    assert isinstance(store, MemoryCache)

    def looked(place: Place, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        return [store.get_now(place, each) for each in keys]

    dialect, body = DIALECTS[pair.surface], request_body(pair, **fields)
    means = Means(datetime.now(UTC) + later, lambda *_: 0, looked=looked if known else None)
    return explain(live.holder.current, Question(dialect, dialect.facts(body), row(live, key), body), means)


def row(live: LiveGateway, key: str) -> ApiKey | None:
    return live.holder.current.keys[live.hasher.digest(key)] if key else None


@pytest.mark.parametrize("pair", [CHAT_OPENAI, CHAT_ANTHROPIC, MESSAGES_OPENAI], ids=str)
def test_what_is_said_is_what_the_next_call_has(live: LiveGateway, pair: Pair) -> None:
    teams = cached(live, pair)
    for key, seen in ((teams.first, "miss"), (teams.colleague, "hit"), (teams.stranger, "miss")):
        said = told(live, pair, key)
        assert said.cache is not None
        assert said.cache.state == seen
        assert said.outcome.startswith(
            "It is answered from the cache: kept" if seen == "hit" else "It goes to"
        )
        # The explanation has kept nothing and taken nothing.
        assert told(live, pair, key).cache == said.cache or seen == "hit"
        assert verdict(say(live, pair, key=key)) == seen
    if pair.surface == "messages":
        # As Anthropic's clients ask.
        sent = {"anthropic-version": "2023-06-01"}
        say(live, pair, key=teams.stranger, sent=sent, max_tokens=900)
        found = told(live, pair, teams.stranger, max_tokens=900).cache
        assert found is not None
        assert found.state == "hit"
    other = told(live, pair, teams.first, max_tokens=7)
    assert other.cache is not None
    assert other.cache.state == "miss"


def test_an_answer_that_is_too_old_is_none(live: LiveGateway) -> None:
    teams = cached(live, CHAT_OPENAI, ttl=60)
    say(live, CHAT_OPENAI, key=teams.first)
    begun = time.monotonic()
    young = told(live, CHAT_OPENAI, teams.first, later=timedelta(seconds=30)).cache
    assert young is not None
    assert young.age is not None
    assert young.state == "hit"
    assert 29 <= young.age <= 31 + time.monotonic() - begun
    old = told(live, CHAT_OPENAI, teams.first, later=timedelta(seconds=61)).cache
    assert old is not None
    assert old.state == "miss"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"temperature": 0.7}, "its temperature is above 0"),
        ({"n": 2}, "several answers are asked for"),
        ({"web_search_options": {}}, "its provider runs tools"),
        ({"store": True}, "the provider is asked to keep something"),
    ],
)
def test_why_a_request_keeps_out_of_it(live: LiveGateway, fields: dict[str, Any], why: str) -> None:
    teams = cached(live, CHAT_OPENAI)
    said = told(live, CHAT_OPENAI, teams.first, **fields).cache
    assert said is not None
    assert (said.state, said.why) == ("bypass", why)


def test_what_cannot_be_said(live: LiveGateway) -> None:
    teams = cached(live, CHAT_OPENAI)
    chat = DIALECTS["chat"]
    plain = Question(chat, Facts(model=CHAT_OPENAI.model), row(live, teams.first))
    known = Means(datetime.now(UTC), lambda *_: 0)
    found = [
        explain(live.holder.current, plain, known).cache,
        told(live, CHAT_OPENAI, "").cache,
        told(live, CHAT_OPENAI, teams.first, known=False).cache,
    ]
    assert [each and each.state for each in found] == ["unknown"] * 3
    assert len({each.why for each in found if each}) == 3
    live.use(live.snapshot())
    off = told(live, CHAT_OPENAI, live.key).cache
    assert off is not None
    assert off.state == "off"
