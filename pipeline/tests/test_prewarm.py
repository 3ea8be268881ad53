"""Anthropic's `max_tokens: 0` warms a prompt cache and says nothing: before every provider, in every form."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

from pipeline.tests import faults
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import (
    MESSAGES_ANTHROPIC,
    MESSAGES_OLLAMA,
    MESSAGES_OPENAI,
    OTHER_PAIRS,
    Pair,
    ask,
)

MESSAGES_RESPONSES = next(p for p in OTHER_PAIRS if (p.surface, p.upstream) == ("messages", "responses"))
LOCAL = pytest.mark.parametrize("pair", [MESSAGES_OPENAI, MESSAGES_RESPONSES], ids=str)
FORMS = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def warm(live: LiveGateway, pair: Pair, *, stream: bool) -> Any:
    """The message that Anthropic's own SDK makes of the reply."""
    client = anthropic.Anthropic(api_key=live.key, base_url=live.url, max_retries=0)
    body: dict[str, Any] = {
        "model": pair.model, "max_tokens": 0, "messages": [{"role": "user", "content": "count:9"}],
    }  # fmt: skip
    with client:
        if not stream:
            return client.messages.create(**body)
        with client.messages.stream(**body) as told:
            return told.get_final_message()


@LOCAL
@FORMS
def test_nobody_is_asked_for_what_has_no_cache_to_warm(
    live: LiveGateway, fake: FakeUpstream, pair: Pair, stream: bool
) -> None:
    faults.alone(live, pair)
    message = warm(live, pair, stream=stream)
    assert (message.content, message.stop_reason, message.model) == ([], "max_tokens", pair.model)
    assert (message.usage.input_tokens, message.usage.output_tokens) == (0, 0)
    assert fake.requests == []
    record = live.wait_record()
    assert (record.outcome, record.status, record.attempts) == ("ok", 200, [])
    assert (record.cost or 0) == 0
    assert record.dropped == ["max_tokens"]


@LOCAL
@FORMS
def test_that_it_warmed_nothing_is_said(live: LiveGateway, pair: Pair, stream: bool) -> None:
    faults.alone(live, pair)
    answer = ask(live, pair, stream=stream, max_tokens=0)
    assert (answer.status, answer.header("x-gateway-dropped")) == (200, "max_tokens")
    assert answer.streamed is stream


@LOCAL
def test_what_could_not_be_asked_later_is_refused_now(live: LiveGateway, pair: Pair) -> None:
    faults.alone(live, pair)
    audio = [{"role": "user", "content": [{"type": "hologram"}]}]
    assert ask(live, pair, max_tokens=0, messages=audio).status == 400


def test_a_strict_route_refuses_it(live: LiveGateway, fake: FakeUpstream) -> None:
    live.use(live.snapshot([live.route("*", live.provider("openai"), losses="strict")]))
    answer = ask(live, MESSAGES_OPENAI, max_tokens=0)
    assert answer.status == 400
    assert "max_tokens" in answer.error()["message"]
    assert fake.requests == []


def test_anthropic_is_asked_as_the_client_asks(live: LiveGateway, fake: FakeUpstream) -> None:
    faults.alone(live, MESSAGES_ANTHROPIC)
    assert ask(live, MESSAGES_ANTHROPIC, max_tokens=0).status == 200
    assert fake.last.json["max_tokens"] == 0


@FORMS
def test_ollama_loads_the_model(live: LiveGateway, fake: FakeUpstream, stream: bool) -> None:
    faults.alone(live, MESSAGES_OLLAMA)
    message = warm(live, MESSAGES_OLLAMA, stream=stream)
    assert (message.content, message.stop_reason) == ([], "max_tokens")
    assert (fake.last.path, fake.last.json["messages"]) == ("/api/chat", [])
    assert live.wait_record().dropped == []
