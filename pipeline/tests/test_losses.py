"""Fields that cannot travel, and what a route does with them: refuse the call, warn, or keep silent."""

from __future__ import annotations

from typing import Any

import pytest

from routing.snapshot import Losses, Target
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import CHAT_ANTHROPIC, CHAT_OPENAI, MESSAGES_OPENAI, TEXT, Pair, ask
from tests.support.upstream.script import Json

# One field of each surface that the provider's dialect has no place for, and two that it has.
LOST: dict[str, dict[str, Any]] = {
    "chat": {"logit_bias": {"50256": -100}, "seed": 7, "temperature": 0.5},
    "messages": {"top_k": 5, "mcp_servers": [], "temperature": 0.5},
}
NAMES = {"chat": {"logit_bias", "seed"}, "messages": {"top_k", "mcp_servers"}}
ACROSS = [CHAT_ANTHROPIC, MESSAGES_OPENAI]


def serve(live: LiveGateway, losses: Losses, *kinds: str) -> None:
    """All models by one route, to these kinds in tiers of their order."""
    routes = [live.route("*", *map(live.provider, kinds), losses=losses)]
    live.use(live.snapshot(routes))


def counted(live: LiveGateway, losses: str) -> float:
    families = {family.name: family for family in live.registry.collect()}
    samples = families["gateway_dropped_fields"].samples
    return sum(
        s.value for s in samples if s.name == "gateway_dropped_fields_total" and s.labels["losses"] == losses
    )


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("pair", ACROSS, ids=str)
def test_a_strict_route_refuses_before_anybody_is_asked_and_names_every_field(
    live: LiveGateway, fake: FakeUpstream, pair: Pair, stream: bool
) -> None:
    serve(live, "strict", pair.kind)
    before = counted(live, "strict")
    answer = ask(live, pair, stream=stream, extra=LOST[pair.surface])
    assert answer.status == 400
    error = answer.error()
    assert error["type"] == "invalid_request_error"
    for name in NAMES[pair.surface]:
        assert name in error["message"]
    assert "temperature" not in error["message"]
    if pair.surface == "chat":
        assert error["code"] == "fields_not_supported"
        assert error["param"] in NAMES["chat"]
    assert answer.header("x-gateway-dropped") is None
    assert not fake.requests
    record = live.wait_record()
    assert (record.code, record.status, record.losses) == ("fields_not_supported", 400, "strict")
    assert set(record.dropped) == NAMES[pair.surface]
    assert record.attempts == []
    assert counted(live, "strict") == before + 2


@pytest.mark.parametrize("pair", [*ACROSS, CHAT_OPENAI], ids=str)
def test_a_strict_route_takes_what_travels(live: LiveGateway, fake: FakeUpstream, pair: Pair) -> None:
    serve(live, "strict", pair.kind)
    extra = LOST["chat"] if pair.same else {"temperature": 0.5}
    answer = ask(live, pair, extra=extra)
    assert (answer.status, answer.text) == (200, TEXT)
    assert fake.last.json["temperature"] == 0.5
    assert live.wait_record().dropped == []


def test_a_strict_route_goes_on_to_a_target_that_carries_all(live: LiveGateway, fake: FakeUpstream) -> None:
    """The first three tiers lose something; the fourth speaks the client's dialect. Nobody was asked in vain,
    so the limit of attempts is not touched."""
    serve(live, "strict", "anthropic", "anthropic", "anthropic", "openai")
    fake.memory.extra_models.add(CHAT_ANTHROPIC.model)
    answer = ask(live, CHAT_ANTHROPIC, extra=LOST["chat"])
    assert answer.status == 200
    assert [request.path for request in fake.requests] == ["/v1/chat/completions"]
    assert fake.last.json["logit_bias"] == LOST["chat"]["logit_bias"]
    record = live.wait_record()
    assert (record.provider, record.dropped, len(record.attempts)) == ("openai", [], 1)


def test_a_provider_that_failed_is_told_rather_than_that_the_next_could_not_carry_it(
    live: LiveGateway, fake: FakeUpstream
) -> None:
    """The request is good where it could go; a 400 would have the client give up on it for ever."""
    serve(live, "strict", "openai", "anthropic")
    fake.script("", [Json(503, {"error": {"message": "overloaded"}})], times=1)
    answer = ask(live, CHAT_OPENAI, extra=LOST["chat"])
    assert answer.status == 503
    assert len(fake.requests) == 1
    record = live.wait_record()
    assert (record.provider, record.dropped, record.upstream_model) == ("openai", [], CHAT_OPENAI.model)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("pair", ACROSS, ids=str)
@pytest.mark.parametrize("losses", ["warn", "silent"])
def test_otherwise_it_is_dropped_and_on_the_record(
    live: LiveGateway, fake: FakeUpstream, losses: Losses, pair: Pair, stream: bool
) -> None:
    serve(live, losses, pair.kind)
    before = counted(live, losses)
    answer = ask(live, pair, stream=stream, extra=LOST[pair.surface])
    assert answer.status == 200
    assert answer.text == TEXT
    named = answer.header("x-gateway-dropped")
    if losses == "silent":
        assert named is None
    else:
        assert set((named or "").split(", ")) == NAMES[pair.surface]
    record = live.wait_record()
    assert (set(record.dropped), record.losses) == (NAMES[pair.surface], losses)
    assert counted(live, losses) == before + 2
    assert not NAMES[pair.surface] & fake.last.json.keys()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("pair", ACROSS, ids=str)
@pytest.mark.parametrize("losses", ["warn", "silent"])
def test_an_error_says_it_too(
    live: LiveGateway, fake: FakeUpstream, losses: Losses, pair: Pair, stream: bool
) -> None:
    """Who gets a provider's refusal may have it for want of a field."""
    serve(live, losses, pair.kind)
    fake.script("", [Json(400, {"error": {"message": "no"}})], times=1)
    answer = ask(live, pair, stream=stream, extra=LOST[pair.surface])
    assert answer.status == 400
    assert answer.header("x-gateway-provider") == pair.kind
    named = answer.header("x-gateway-dropped")
    assert set(named.split(", ") if named else ()) == (NAMES[pair.surface] if losses == "warn" else set())
    assert set(live.wait_record().dropped) == NAMES[pair.surface]


def test_what_an_earlier_target_lost_is_not_said_of_the_one_that_answered(
    live: LiveGateway, fake: FakeUpstream
) -> None:
    serve(live, "warn", "anthropic", "openai")
    fake.memory.extra_models.add(CHAT_ANTHROPIC.model)
    fake.script("", [Json(503, {"error": {"message": "overloaded"}})], times=1)
    answer = ask(live, CHAT_ANTHROPIC, extra=LOST["chat"])
    assert answer.status == 200
    assert answer.header("x-gateway-dropped") is None
    assert live.wait_record().dropped == []


def test_a_client_writes_nothing_of_its_own_into_the_refusal(live: LiveGateway) -> None:
    serve(live, "strict", "anthropic")
    odd = {f"<b>{number}\n{'x' * 300}": 1 for number in range(500)}
    error = ask(live, CHAT_ANTHROPIC, extra=odd | {f"field_{n}": 1 for n in range(500)}).error()
    assert "<b>" not in error["message"]
    assert "field_1" in error["message"]
    assert len(error["message"]) < 1000


def test_a_targets_own_patch_is_no_loss(live: LiveGateway) -> None:
    target = Target(id=1, provider=live.provider("anthropic"), body_patch={"top_k": 3})
    live.use(live.snapshot([live.route("*", target, losses="strict")]))
    assert ask(live, CHAT_ANTHROPIC).status == 200


def _broken_call() -> Json:
    """An answer that calls a tool with arguments that broke off."""
    function = {"name": "f", "arguments": '{"city": "Ul'}
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
    }
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o"}
    return Json(200, {**head, "choices": [choice]})


@pytest.mark.parametrize("losses", ["warn", "silent"])
def test_a_call_that_cannot_be_read_is_lost_and_on_the_record(
    live: LiveGateway, fake: FakeUpstream, losses: Losses
) -> None:
    serve(live, losses, "openai")
    before = counted(live, losses)
    fake.script("", [_broken_call()])
    answer = ask(live, MESSAGES_OPENAI)
    assert answer.status == 200
    (call,) = answer.json["content"]
    assert (call["type"], call["input"]) == ("tool_use", {})
    assert answer.header("x-gateway-dropped") == ("tool_use.input" if losses == "warn" else None)
    assert live.wait_record().dropped == ["tool_use.input"]
    assert counted(live, losses) == before + 1


def test_a_strict_route_has_no_such_answer(live: LiveGateway, fake: FakeUpstream) -> None:
    serve(live, "strict", "openai")
    fake.script("", [_broken_call()])
    answer = ask(live, MESSAGES_OPENAI)
    assert answer.status == 502
    assert "tool_use.input" in answer.error()["message"]
    assert live.wait_record().code == "upstream_invalid_response"


@pytest.mark.parametrize("losses", ["strict", "warn"])
def test_a_stream_has_the_pieces_of_the_call(live: LiveGateway, fake: FakeUpstream, losses: Losses) -> None:
    """The provider answers whole all the same: it is told as the stream that was asked for."""
    serve(live, losses, "openai")
    fake.script("", [_broken_call()])
    answer = ask(live, MESSAGES_OPENAI, stream=True)
    assert answer.complete
    deltas = [data["delta"] for name, data in answer.events if name == "content_block_delta"]
    assert "".join(delta["partial_json"] for delta in deltas) == '{"city": "Ul'
    assert (answer.header("x-gateway-dropped"), live.wait_record().dropped) == (None, [])
