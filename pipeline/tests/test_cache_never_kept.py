"""S33: what is never kept, so that no answer that is none is given again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pipeline.tests.caching import cached, say, verdict, with_teams
from pipeline.tests.faults import served
from pipeline.tests.test_cache import COMPLETIONS, RESPONSES
from routing.caching import Caching
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import CHAT_ANTHROPIC, CHAT_OPENAI, MESSAGES_ANTHROPIC, PROMPT, TEXT, Answer, Pair
from tests.support.upstream.script import Answer as FakeAnswer
from tests.support.upstream.script import Json, Reset

TOOL: dict[str, Any] = {"name": "weather", "parameters": {"type": "object", "properties": {}}}


def never_kept(live: LiveGateway, ask: Callable[[], Answer], seen: str) -> None:
    first, second = ask(), ask()
    assert (verdict(first), verdict(second)) == (seen, seen)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("pair", [CHAT_OPENAI, MESSAGES_ANTHROPIC, RESPONSES, COMPLETIONS], ids=str)
def test_s33_truncated(live: LiveGateway, pair: Pair, stream: bool) -> None:
    cached(live, pair, tools=True)
    cap: dict[str, Any] = {"max_output_tokens" if pair.surface == "responses" else "max_tokens": 4}
    never_kept(live, lambda: say(live, pair, stream=stream, **cap), "miss")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("pair", [CHAT_OPENAI, MESSAGES_ANTHROPIC, RESPONSES], ids=str)
def test_s33_refused_by_the_model(live: LiveGateway, pair: Pair, stream: bool) -> None:
    cached(live, pair, tools=True)
    prompt = "refuse:I will not."
    body = {"input": prompt} if pair.surface == "responses" else {"messages": [message(prompt)]}
    never_kept(live, lambda: say(live, pair, stream=stream, **body), "miss")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("pair", [CHAT_OPENAI, MESSAGES_ANTHROPIC, RESPONSES, CHAT_ANTHROPIC], ids=str)
@pytest.mark.parametrize("allowed", [False, True], ids=["not_allowed", "allowed"])
def test_s33_calls_of_tools_where_the_route_does_not_say_so(
    live: LiveGateway, pair: Pair, stream: bool, allowed: bool
) -> None:
    cached(live, pair, tools=allowed)

    def ask() -> Answer:
        return say(live, pair, stream=stream, **with_tool(pair, "call:weather {}"))

    if allowed:
        assert [verdict(ask()), verdict(ask())] == ["miss", "hit"]
    else:
        never_kept(live, ask, "miss")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_s33_a_text_is_kept_although_there_were_tools(live: LiveGateway, stream: bool) -> None:
    cached(live, CHAT_OPENAI)
    fields = with_tool(CHAT_OPENAI, PROMPT)
    assert verdict(say(live, CHAT_OPENAI, stream=stream, **fields)) == "miss"
    assert verdict(say(live, CHAT_OPENAI, stream=stream, **fields)) == "hit"


@pytest.mark.parametrize(
    ("settings", "fields"),
    [
        ({}, {"temperature": 0.7}),
        ({"temperature": 1.0}, {"temperature": 1.1}),
        ({"temperature": 2.0}, {"n": 2}),
        ({}, {"store": True}),
        ({}, {"web_search_options": {}}),
    ],
    ids=["temperature", "above_the_routes", "several", "stored_there", "searched"],
)
def test_s33_requests_that_go_past_the_cache(
    live: LiveGateway, settings: dict[str, Any], fields: dict[str, Any]
) -> None:
    cached(live, CHAT_OPENAI, **settings)
    never_kept(live, lambda: say(live, CHAT_OPENAI, **fields), "bypass")


def test_a_higher_temperature_where_the_route_allows_it(live: LiveGateway) -> None:
    cached(live, CHAT_OPENAI, temperature=1.0)
    assert verdict(say(live, CHAT_OPENAI, temperature=1)) == "miss"
    assert verdict(say(live, CHAT_OPENAI, temperature=1.0)) == "hit"


def test_s33_a_picture_by_its_address(live: LiveGateway) -> None:
    cached(live, CHAT_OPENAI)
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/now.png"}}
    content = [{"type": "text", "text": PROMPT}, picture]
    fields: dict[str, Any] = {"messages": [{"role": "user", "content": content}]}
    never_kept(live, lambda: say(live, CHAT_OPENAI, **fields), "bypass")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_s33_larger_than_the_route_takes(live: LiveGateway, stream: bool) -> None:
    cached(live, CHAT_OPENAI, max_bytes=64)
    never_kept(live, lambda: say(live, CHAT_OPENAI, stream=stream), "miss")


def test_s33_errors(live: LiveGateway, fake: FakeUpstream) -> None:
    cached(live, CHAT_OPENAI)
    fake.script("/v1/", [Json(400, {"error": {"message": "no", "type": "x", "code": "y"}})], times=1)
    failed = say(live, CHAT_OPENAI)
    assert (failed.status, verdict(failed)) == (400, "miss")
    answered = say(live, CHAT_OPENAI)
    assert (answered.status, verdict(answered)) == (200, "miss")


@pytest.mark.parametrize("pair", [CHAT_OPENAI, MESSAGES_ANTHROPIC, RESPONSES, CHAT_ANTHROPIC], ids=str)
def test_s33_a_stream_that_broke(live: LiveGateway, fake: FakeUpstream, pair: Pair) -> None:
    cached(live, pair)
    fake.script(pair.path, [FakeAnswer(events=pair.leading + 3), Reset()], times=1)
    broken = say(live, pair, stream=True)
    assert broken.failures
    whole = say(live, pair, stream=True)
    assert (verdict(whole), whole.text) == ("miss", TEXT)


def test_s33_answers_of_a_fallback_do_not_outlast_the_outage(live: LiveGateway, fake: FakeUpstream) -> None:
    first, second = served(live, CHAT_OPENAI), live.provider("anthropic", id=9)
    targets = [
        replace(t, upstream_model=m)
        for t, m in zip(live.route("*", first, second).targets, ("", "claude-opus-4-5"), strict=True)
    ]
    route = live.route("*", *targets, caching=Caching())
    with_teams(live, live.snapshot([route]), CHAT_OPENAI)
    fake.script("/chat/completions", [Json(503, {"error": {"message": "busy"}})], times=1)
    assert say(live, CHAT_OPENAI).header("x-gateway-provider") == "anthropic"
    again = say(live, CHAT_OPENAI)
    assert (verdict(again), again.header("x-gateway-provider")) == ("miss", "openai")
    assert verdict(say(live, CHAT_OPENAI)) == "hit"


def test_a_first_tier_that_is_switched_off_makes_no_fallback_of_the_next(live: LiveGateway) -> None:
    off = live.provider("anthropic", id=9, enabled=False)
    route = live.route("*", off, served(live, CHAT_OPENAI), caching=Caching())
    with_teams(live, live.snapshot([route]), CHAT_OPENAI)
    assert [verdict(say(live, CHAT_OPENAI)) for _ in range(2)] == ["miss", "hit"]


# --- Helpers


def message(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def with_tool(pair: Pair, prompt: str) -> dict[str, Any]:
    """Fields that ask for this with a tool at hand."""
    if pair.surface == "messages":
        tool = {"name": TOOL["name"], "input_schema": TOOL["parameters"]}
        return {"messages": [message(prompt)], "tools": [tool]}
    if pair.surface == "responses":
        return {"input": prompt, "tools": [{"type": "function", **TOOL}]}
    return {"messages": [message(prompt)], "tools": [{"type": "function", "function": TOOL}]}
