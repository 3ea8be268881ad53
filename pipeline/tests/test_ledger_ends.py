"""How calls end in the ledger: states, attempts, charges, flags. Faults of providers are in tests/faults."""

from __future__ import annotations

import http.client
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest

from dialects.types import ModelFacts
from pipeline.tests import faults
from pipeline.tests.test_client_leaves import leave_in_the_middle, serve
from routing.snapshot import CatalogueModel, Price
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import (
    CHAT_OPENAI,
    MESSAGES_ANTHROPIC,
    MESSAGES_OPENAI,
    Pair,
    address,
    ask,
    request_body,
)
from tests.support.upstream.script import Answer, Json, Stall

PAIRS = (CHAT_OPENAI, MESSAGES_ANTHROPIC)


def tokens(end: Mapping[str, Any]) -> int:
    return int(end["input_tokens"]) + int(end["output_tokens"])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("pair", [*PAIRS, MESSAGES_OPENAI], ids=str)
def test_what_the_provider_counts_is_settled(live: LiveGateway, pair: Pair, stream: bool) -> None:
    model = CatalogueModel(pair.kind, ModelFacts(pair.model), Price(input=2.5, output=10.0))
    live.use(live.snapshot(catalogue={(pair.kind, pair.model): model}))
    assert ask(live, pair, stream=stream, max_tokens=100).status == 200
    end = live.ended()
    usage = live.records[0].usage
    assert usage is not None
    assert (end["state"], end["usage_source"], end["flags"]) == ("settled", "provider", "")
    assert (end["input_tokens"], end["output_tokens"]) == (usage.input_tokens, usage.output_tokens)
    assert end["cost"] == usage.input_tokens * 2_500 + usage.output_tokens * 10_000
    assert (end["rate_input"], end["rate_output"], end["rate_cache_read"]) == (
        2_500_000,
        10_000_000,
        2_500_000,
    )
    assert (end["reserved_output"], end["reserved_cost"]) == (100, end["reserved_input"] * 2_500 + 1_000_000)
    assert [attempt["state"] for attempt in end["attempts"]] == ["settled"]
    assert (end["ttft_ms"] is not None) is stream
    assert (end["team"], end["revision"], end["provider"]) == ("default", 7, pair.kind)


def test_an_unknown_price_is_no_cost_and_no_reservation(live: LiveGateway) -> None:
    assert ask(live, CHAT_OPENAI).status == 200
    end = live.ended()
    assert (end["cost"], end["reserved_cost"], end["rate_input"]) == (None, None, None)


def test_another_target_after_a_silent_one_may_be_billed_beside_it(
    live: LiveGateway, fake_upstream: FakeUpstream
) -> None:
    faults.two(live, CHAT_OPENAI, timeouts=faults.SHORT)
    faults.answers(fake_upstream, CHAT_OPENAI, lambda _: [Stall()], at="first")
    assert ask(live, CHAT_OPENAI, stream=True).complete
    end = live.ended()
    assert (end["state"], end["provider"], end["possible_double_bill"]) == ("settled", "second", True)
    assert [attempt["state"] for attempt in end["attempts"]] == ["estimated", "settled"]
    assert [attempt["provider"] for attempt in end["attempts"]] == ["first", "second"]


def test_another_target_after_a_refusal_may_not(live: LiveGateway, fake_upstream: FakeUpstream) -> None:
    faults.two(live, CHAT_OPENAI)
    faults.answers(fake_upstream, CHAT_OPENAI, faults.whole_error(503), at="first")
    assert ask(live, CHAT_OPENAI).status == 200
    end = live.ended()
    assert (end["state"], end["possible_double_bill"]) == ("settled", False)
    assert [attempt["state"] for attempt in end["attempts"]] == ["released", "settled"]


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_c3_a_client_that_leaves_a_stream(live: LiveGateway, fake_upstream: FakeUpstream, pair: Pair) -> None:
    serve(live, pair, "cancel")
    fake_upstream.script(pair.path, [Answer(events=pair.leading + 3), Stall()])
    leave_in_the_middle(live, pair)
    end = live.ended()
    assert (end["state"], end["status"], end["outcome"]) == ("estimated", 499, "client_gone")
    assert end["output_tokens"] > 0
    assert [attempt["state"] for attempt in end["attempts"]] == ["estimated"]


@pytest.mark.parametrize("stream", [False, True], ids=["c5-whole", "c2-stream"])
def test_a_client_that_leaves_before_the_first_byte(
    live: LiveGateway, fake_upstream: FakeUpstream, stream: bool
) -> None:
    fake_upstream.script(CHAT_OPENAI.path, [Stall()])
    leave_at_once(live, fake_upstream, stream=stream)
    end = live.ended()
    assert (end["state"], end["status"], end["usage_source"]) == ("estimated", 499, "estimated")
    assert end["input_tokens"] == end["reserved_input"]
    assert end["output_tokens"] == 0
    assert not end["possible_double_bill"]


def test_c1_a_client_that_leaves_the_line_has_used_nothing(
    live: LiveGateway, fake_upstream: FakeUpstream
) -> None:
    provider = live.provider("openai")
    route = live.route("*", provider)
    (target,) = route.targets
    live.use(live.snapshot([replace(route, targets=(replace(target, max_in_flight=1),))]))
    fake_upstream.script(CHAT_OPENAI.path, [Stall()])
    first = connected(live)
    assert fake_upstream.wait_for(1)
    second = connected(live)
    live.wait(lambda: live.live.slots.waiting("*") == 1)
    second.close()
    end = live.ended()
    assert (end["state"], end["status"], end["tries"], end["attempts"]) == ("released", 499, 0, [])
    assert tokens(end) == 0
    first.close()
    live.wait(lambda: len(live.records) == 2)


USAGES: Sequence[tuple[str, Any, str, str, int]] = (
    ("missing", None, "estimated", "no_usage", -1),
    ("negative", {"prompt_tokens": -1, "completion_tokens": -5}, "estimated", "no_usage", -1),
    ("text", {"prompt_tokens": "7", "completion_tokens": "8"}, "estimated", "no_usage", -1),
    ("zero", {"prompt_tokens": 0, "completion_tokens": 0}, "settled", "zero_usage", 0),
    ("huge", {"prompt_tokens": 2**60, "completion_tokens": 1}, "settled", "clamped", 10**12 + 1),
)


@pytest.mark.parametrize(
    ("usage", "state", "flags", "total"), [row[1:] for row in USAGES], ids=[r[0] for r in USAGES]
)
def test_u31_whatever_a_provider_says_of_usage_is_flagged(
    live: LiveGateway, fake_upstream: FakeUpstream, usage: Any, state: str, flags: str, total: int
) -> None:
    model = CatalogueModel("openai", ModelFacts("gpt-4o"), Price(input=2.5, output=10.0))
    live.use(live.snapshot(catalogue={("openai", "gpt-4o"): model}))
    choice = {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
    body = {"id": "x", "object": "chat.completion", "model": "gpt-4o", "choices": [choice], "usage": usage}
    fake_upstream.script(CHAT_OPENAI.path, [Json(200, body)])
    assert ask(live, CHAT_OPENAI).status == 200
    end = live.ended()
    assert (end["state"], end["flags"]) == (state, flags)
    assert tokens(end) == total if total >= 0 else tokens(end) > 0
    # A number that no database could add up is cut, and not in the way of the call.
    assert end["cost"] <= 10**15


def test_what_nobody_was_asked_for(live: LiveGateway) -> None:
    live.use(live.snapshot([live.route("gpt-*", live.provider("openai"))]))
    answer = ask(live, replace(CHAT_OPENAI, model="unknown"))
    end = live.ended()
    assert answer.status == end["status"] == 404
    assert (end["state"], end["tries"], end["cost"]) == ("released", 0, 0)


def test_what_was_not_let_in_has_no_row(live: LiveGateway) -> None:
    live.use(live.snapshot(key={"allowed_models": ("claude-*",)}))
    body = orjson.dumps({"model": "gpt-4o", "messages": "no list"})
    connection = connected(live, body)
    assert connection.getresponse().status == 400
    connection.close()
    assert live.ledger.lines == []


def connected(live: LiveGateway, body: bytes | None = None) -> http.client.HTTPConnection:
    """A connection on which a call was sent."""
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=20)
    headers = {"authorization": f"Bearer {live.key}", "content-type": "application/json"}
    body = orjson.dumps(request_body(CHAT_OPENAI)) if body is None else body
    connection.request("POST", address("chat"), body, headers)
    return connection


def leave_at_once(live: LiveGateway, fake: FakeUpstream, *, stream: bool) -> None:
    connection = connected(live, orjson.dumps(request_body(CHAT_OPENAI, stream=stream)))
    assert fake.wait_for(1)
    connection.close()
