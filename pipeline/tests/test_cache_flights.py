"""The same request of several at the same time: one call at the provider, and each has its answer, its
record and its own end."""

from __future__ import annotations

import asyncio
import http.client
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import anthropic
import openai
import orjson
import pytest

from pipeline.tests.caching import Teams, cached, say, settled, verdict
from pipeline.tests.test_cache import COMPLETIONS, RESPONSES
from pipeline.tests.test_client_leaves import Rest
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import (
    CHAT_ANTHROPIC,
    CHAT_OPENAI,
    MESSAGES_ANTHROPIC,
    PROMPT,
    TEXT,
    Answer,
    Pair,
    address,
    request_body,
)
from tests.support.upstream.script import Answer as FakeAnswer
from tests.support.upstream.script import Json, Reset, Stall, Step, WaitFor

SURFACES = (CHAT_OPENAI, CHAT_ANTHROPIC, MESSAGES_ANTHROPIC, RESPONSES, COMPLETIONS)
Ask = Callable[..., Future[Answer]]


@pytest.fixture
def ask(live: LiveGateway) -> Any:
    """Asks in a thread of its own."""
    with ThreadPoolExecutor(12) as threads:
        yield lambda pair, **fields: threads.submit(say, live, pair, **fields)


def flying(live: LiveGateway, calls: int) -> None:
    """Wait until so many calls are open, all of them for the one that leads."""
    cache = live_cache(live)
    live.wait(lambda: live.ears.open == calls)
    live.wait(lambda: sum(1 + flight.followers for flight in cache._flights.values()) == calls)


def live_cache(live: LiveGateway) -> Any:
    handler: Any = live.services.handler
    while type(handler).__name__ != "Cache":
        handler = handler._inner
    return handler


def leave(live: LiveGateway, pair: Pair, *, stream: bool) -> Callable[[], None]:
    """Ask, and give a way to leave."""
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=20)
    headers = {"authorization": f"Bearer {live.key}", "content-type": "application/json"}
    connection.request(
        "POST", address(pair.surface), orjson.dumps(request_body(pair, stream=stream)), headers
    )

    def go() -> None:
        if stream:
            response = connection.getresponse()
            assert response.read1(50)
            response.close()
        connection.close()

    return go


@pytest.mark.parametrize("pair", SURFACES, ids=str)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_one_call_answers_all(
    live: LiveGateway, fake: FakeUpstream, ask: Ask, pair: Pair, stream: bool
) -> None:
    cached(live, pair)
    gone = threading.Event()
    fake.script(pair.path, [WaitFor(gone), FakeAnswer()])
    asked = [ask(pair, stream=stream) for _ in range(6)]
    flying(live, 6)
    gone.set()
    answers = [each.result() for each in asked]
    assert len(fake.requests) == 1
    assert [answer.text for answer in answers] == [TEXT] * 6
    assert sorted(str(verdict(answer)) for answer in answers) == ["hit"] * 5 + ["miss"]
    if stream:
        assert all(answer.complete and answer.events == answers[0].events for answer in answers)
    leader = next(record for record in live.records if record.cache == "miss")
    followers = [record for record in live.records if record.cache == "hit"]
    assert leader.usage is not None
    assert [(record.cost, record.saved) for record in followers] == [(0, leader.cost)] * 5
    assert all(not record.attempts and record.usage is None for record in followers)
    assert len({record.request_id for record in live.records}) == 6
    # And it is kept.
    assert verdict(say(live, pair, stream=stream)) == "hit"
    assert len(fake.requests) == 1


def test_a_stream_reaches_those_who_follow_as_it_comes(live: LiveGateway, fake: FakeUpstream) -> None:
    cached(live, CHAT_OPENAI)
    gone = threading.Event()
    fake.script(CHAT_OPENAI.path, [FakeAnswer(events=5), WaitFor(gone), Rest(5)])
    streams = []
    for _ in range(2):
        connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=20)
        headers = {"authorization": f"Bearer {live.key}", "content-type": "application/json"}
        body = orjson.dumps(request_body(CHAT_OPENAI, stream=True))
        connection.request("POST", address("chat"), body, headers)
        streams.append((connection, connection.getresponse()))
    # Each has the beginning, while the provider has not said the end.
    begun = [response.read1(40) for _, response in streams]
    assert all(begun)
    assert len(fake.requests) == 1
    gone.set()
    wholes = [first + response.read() for first, (_, response) in zip(begun, streams, strict=True)]
    for connection, _ in streams:
        connection.close()
    assert wholes[0] == wholes[1]
    assert wholes[0].endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_leaders_client_leaves_and_the_others_have_their_answer(
    live: LiveGateway, fake: FakeUpstream, ask: Ask, stream: bool
) -> None:
    cached(live, CHAT_OPENAI)
    gone = threading.Event()
    steps: list[Step] = (
        [FakeAnswer(events=4), WaitFor(gone), Rest(4)] if stream else [WaitFor(gone), FakeAnswer()]
    )
    fake.script(CHAT_OPENAI.path, steps)
    go = leave(live, CHAT_OPENAI, stream=stream)
    fake.wait_for(1)
    asked = [ask(CHAT_OPENAI, stream=stream) for _ in range(3)]
    flying(live, 4)
    go()
    live.wait(lambda: live.door.in_flight == (3 if stream else 4))
    gone.set()
    answers = [each.result() for each in asked]
    assert [answer.text for answer in answers] == [TEXT] * 3
    assert len(fake.requests) == 1
    settled(live)
    leader = next(record for record in live.records if record.cache == "miss")
    assert leader.outcome == "client_gone"
    assert leader.usage is not None
    assert leader.usage.source == "provider", "who leads pays for all of it"
    followers = [record for record in live.records if record.cache == "hit"]
    assert [(record.outcome, record.cost, record.saved) for record in followers] == [
        ("ok", 0, leader.cost)
    ] * 3
    assert verdict(say(live, CHAT_OPENAI, stream=stream)) == "hit"


def test_when_all_have_left_the_provider_is_left_too(live: LiveGateway, fake: FakeUpstream) -> None:
    cached(live, CHAT_OPENAI)
    fake.script(CHAT_OPENAI.path, [FakeAnswer(events=4), Stall()])
    first = leave(live, CHAT_OPENAI, stream=True)
    fake.wait_for(1)
    second = leave(live, CHAT_OPENAI, stream=True)
    flying(live, 2)
    first()
    live.wait(lambda: live.door.in_flight == 1)
    second()
    assert fake.wait_closed(fake.last)
    settled(live)
    assert {record.outcome for record in live.records} == {"client_gone"}


def test_one_who_follows_leaves_and_nobody_notices(live: LiveGateway, fake: FakeUpstream, ask: Ask) -> None:
    cached(live, CHAT_OPENAI)
    gone = threading.Event()
    fake.script(CHAT_OPENAI.path, [FakeAnswer(events=4), WaitFor(gone), Rest(4)])
    leading = ask(CHAT_OPENAI, stream=True)
    fake.wait_for(1)
    go = leave(live, CHAT_OPENAI, stream=True)
    flying(live, 2)
    go()
    live.wait(lambda: live.ears.open == 1)
    gone.set()
    assert leading.result().text == TEXT
    gone_record = next(record for record in live.records if record.outcome == "client_gone")
    assert (gone_record.cost, gone_record.saved) == (0, None)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_error_that_anybody_would_get_is_everybodys(
    live: LiveGateway, fake: FakeUpstream, ask: Ask, stream: bool
) -> None:
    cached(live, CHAT_OPENAI)
    gone = threading.Event()
    error = {
        "error": {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}
    }
    fake.script(CHAT_OPENAI.path, [WaitFor(gone), Json(400, error)], times=1)
    asked = [ask(CHAT_OPENAI, stream=stream) for _ in range(3)]
    flying(live, 3)
    gone.set()
    answers = [each.result() for each in asked]
    assert [(answer.status, answer.error()["code"]) for answer in answers] == [
        (400, "context_length_exceeded")
    ] * 3
    assert len(fake.requests) == 1
    assert len({answer.json["request_id"] for answer in answers}) == 3
    assert verdict(say(live, CHAT_OPENAI)) == "miss"


def test_after_any_other_error_each_asks_for_itself(live: LiveGateway, fake: FakeUpstream, ask: Ask) -> None:
    cached(live, CHAT_OPENAI)
    gone = threading.Event()
    # As often as a call is tried at all.
    fake.script(CHAT_OPENAI.path, [WaitFor(gone), Json(503, {"error": {"message": "busy"}})], times=3)
    asked = [ask(CHAT_OPENAI) for _ in range(3)]
    flying(live, 3)
    gone.set()
    answers = [each.result() for each in asked]
    assert sorted(answer.status for answer in answers) == [200, 200, 503]
    assert [verdict(answer) for answer in answers] == ["miss"] * 3
    assert len(fake.requests) == 3 + 2


@pytest.mark.parametrize("pair", [CHAT_OPENAI, MESSAGES_ANTHROPIC, CHAT_ANTHROPIC, RESPONSES], ids=str)
def test_a_stream_that_breaks_says_so_to_each_in_its_own_name(
    live: LiveGateway, fake: FakeUpstream, ask: Ask, pair: Pair
) -> None:
    cached(live, pair)
    gone = threading.Event()
    sent = pair.leading + 3
    fake.script(pair.path, [FakeAnswer(events=sent), WaitFor(gone), Reset()], times=1)
    asked = [ask(pair, stream=True) for _ in range(2)]
    flying(live, 2)
    gone.set()
    answers = [each.result() for each in asked]
    for answer in answers:
        assert len(answer.failures) == 1
        assert not answer.complete
    ids = {answer.events[-1][1]["request_id"] for answer in answers}
    assert ids == {record.request_id for record in live.records}
    assert [(record.outcome, record.code) for record in live.records] == [("error", "upstream_truncated")] * 2
    assert verdict(say(live, pair, stream=True)) == "miss"


def test_who_follows_waits_no_longer_than_it_wants_to(
    live: LiveGateway, fake: FakeUpstream, ask: Ask
) -> None:
    cached(live, CHAT_OPENAI)
    gone = threading.Event()
    fake.script(CHAT_OPENAI.path, [WaitFor(gone), FakeAnswer()])
    leading = ask(CHAT_OPENAI)
    fake.wait_for(1)
    late = say_without_waiting(live, {"x-gateway-timeout": "0.2"})
    assert (late.status, late.error()["code"]) == (504, "deadline_exceeded")
    gone.set()
    assert leading.result().text == TEXT
    assert len(fake.requests) == 1


def test_s31_teams_do_not_share_a_call_under_way(live: LiveGateway, fake: FakeUpstream, ask: Ask) -> None:
    teams: Teams = cached(live, CHAT_OPENAI)
    gone = threading.Event()
    fake.script(CHAT_OPENAI.path, [WaitFor(gone), FakeAnswer()])
    asked = [ask(CHAT_OPENAI, key=key) for key in (teams.first, teams.colleague, teams.stranger)]
    live.wait(lambda: live.ears.open == 3 and len(fake.requests) == 2)
    gone.set()
    assert [each.result().status for each in asked] == [200] * 3
    assert len(fake.requests) == 2
    assert sorted((record.team, record.cache) for record in live.records) == [
        ("default", "hit"),
        ("default", "miss"),
        ("other", "miss"),
    ]


def test_a_fresh_answer_is_not_that_of_a_call_under_way(
    live: LiveGateway, fake: FakeUpstream, ask: Ask
) -> None:
    cached(live, CHAT_OPENAI)
    gone = threading.Event()
    fake.script(CHAT_OPENAI.path, [WaitFor(gone), FakeAnswer()])
    asked = [ask(CHAT_OPENAI, sent={"cache-control": "no-cache"}) for _ in range(2)]
    fake.wait_for(2)
    gone.set()
    assert [verdict(each.result()) for each in asked] == ["bypass"] * 2


def test_what_may_call_tools_is_asked_for_by_each(live: LiveGateway, fake: FakeUpstream, ask: Ask) -> None:
    cached(live, CHAT_OPENAI)
    gone = threading.Event()
    fake.script(CHAT_OPENAI.path, [WaitFor(gone), FakeAnswer()])
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    asked = [ask(CHAT_OPENAI, tools=tools) for _ in range(2)]
    fake.wait_for(2)
    gone.set()
    assert [verdict(each.result()) for each in asked] == ["miss"] * 2


def test_the_official_clients_get_one_answer(live: LiveGateway, fake: FakeUpstream) -> None:
    cached(live, CHAT_OPENAI)
    messages: Any = [{"role": "user", "content": PROMPT}]

    async def run() -> list[str]:
        async with openai.AsyncOpenAI(base_url=live.openai_url, api_key=live.key, max_retries=0) as client:

            async def one() -> str:
                stream = await client.chat.completions.create(model="gpt-4o", messages=messages, stream=True)
                return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

            first = await asyncio.gather(*(one() for _ in range(8)))
            whole = await client.chat.completions.create(model="gpt-4o", messages=messages)
            return [*first, str(whole.choices[0].message.content)]

    assert asyncio.run(run()) == [TEXT] * 9
    assert len(fake.requests) == 1


def test_the_official_anthropic_client_gets_one_answer(live: LiveGateway, fake: FakeUpstream) -> None:
    cached(live, MESSAGES_ANTHROPIC)
    messages: Any = [{"role": "user", "content": PROMPT}]

    async def run() -> list[Any]:
        async with anthropic.AsyncAnthropic(base_url=live.url, api_key=live.key, max_retries=0) as client:

            async def one() -> Any:
                asked = {"model": MESSAGES_ANTHROPIC.model, "max_tokens": 100, "messages": messages}
                async with client.messages.stream(**asked) as stream:
                    return (await stream.get_final_message()).model_dump()

            first = await asyncio.gather(*(one() for _ in range(4)))
            asked: Any = {"model": MESSAGES_ANTHROPIC.model, "max_tokens": 100, "messages": messages}
            whole = await client.messages.create(**asked)
            return [*first, whole.model_dump()]

    answers = asyncio.run(run())
    assert [answer["content"][0]["text"] for answer in answers] == [TEXT] * 5
    assert len({orjson.dumps(answer["usage"]["output_tokens"]) for answer in answers}) == 1
    assert len(fake.requests) == 1


def say_without_waiting(live: LiveGateway, sent: dict[str, str]) -> Answer:
    """Ask while others are under way."""
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=20)
    headers = {"authorization": f"Bearer {live.key}", "content-type": "application/json", **sent}
    connection.request("POST", address("chat"), orjson.dumps(request_body(CHAT_OPENAI)), headers)
    response = connection.getresponse()
    answer = Answer("chat", response.status, response.getheaders(), response.read())
    connection.close()
    return answer
