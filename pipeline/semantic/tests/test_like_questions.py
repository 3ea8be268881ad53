"""S31 to S34 where the question is not the same but like it: who gets whose answer, and who never does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from anthropic import Anthropic
from openai import OpenAI

from pipeline.semantic.tests.asking import FIRST, LIKE, changed, like, put
from pipeline.tests.caching import metric, say, verdict
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
    Pair,
)
from tests.support.upstream.script import Json

RESPONSES = next(pair for pair in OTHER_PAIRS if pair.surface == "responses" and pair.same)
COMPLETIONS = next(pair for pair in OTHER_PAIRS if pair.surface == "completions" and pair.same)
SURFACES = (CHAT_OPENAI, CHAT_ANTHROPIC, MESSAGES_ANTHROPIC, MESSAGES_OPENAI, RESPONSES, COMPLETIONS)


TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def requests(live: LiveGateway, result: str) -> float:
    return metric(live, "gateway_semantic_requests_total", route="*", result=result)


# --- A hit


@pytest.mark.parametrize("pair", SURFACES, ids=str)
@pytest.mark.parametrize("first_streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("then_streams", [False, True], ids=["then_whole", "then_stream"])
def test_a_like_question_gets_the_answer(
    live: LiveGateway, fake_upstream: FakeUpstream, pair: Pair, first_streams: bool, then_streams: bool
) -> None:
    like(live, pair)
    # Without, a legacy completion ends after sixteen tokens, and what is cut short is not kept.
    cap = {"max_tokens": 500} if pair is COMPLETIONS else {}
    first = put(live, pair, FIRST, stream=first_streams, **cap)
    then = put(live, pair, LIKE, stream=then_streams, **cap)
    assert (first.status, then.status) == (200, 200)
    assert (verdict(first), verdict(then)) == ("miss", "hit")
    assert len(fake_upstream.requests) == 1
    assert then.text == first.text
    assert then.text
    assert then.streamed is then_streams
    if then_streams:
        assert then.complete
    similarity = float(then.header("x-gateway-cache-similarity") or 0)
    assert 0.85 <= similarity < 1


def test_s34_a_hit_is_written_down_and_costs_nothing(live: LiveGateway) -> None:
    like(live, CHAT_OPENAI)
    before = requests(live, "hit")
    put(live, CHAT_OPENAI, FIRST)
    put(live, CHAT_OPENAI, LIKE)
    miss, hit = live.wait_record(1), live.wait_record(2)
    assert miss.cost
    assert (hit.cache, hit.semantic, hit.cost, hit.saved) == ("hit", "hit", 0, miss.cost)
    assert (hit.status, hit.outcome, hit.attempts, hit.usage) == (200, "ok", [], None)
    assert hit.similarity is not None
    assert miss.similarity is None
    assert requests(live, "hit") == before + 1


def test_s34_a_hit_counts_against_limits(live: LiveGateway) -> None:
    like(live, CHAT_OPENAI)
    snapshot = live.holder.current
    limit = Limit(id=1, kind="requests", amount=2)
    keys = {digest: replace(key, limits=(limit,)) for digest, key in snapshot.keys.items()}
    live.use(replace(snapshot, keys=keys))
    answers = [put(live, CHAT_OPENAI, text) for text in (FIRST, LIKE, LIKE)]
    assert [answer.status for answer in answers] == [200, 200, 429]


def test_an_answer_that_was_given_again_is_not_kept_anew(
    live: LiveGateway, fake_upstream: FakeUpstream
) -> None:
    """Else its life would be prolonged, and questions would drift away from what was answered."""
    like(live, CHAT_OPENAI)
    put(live, CHAT_OPENAI, FIRST)
    kept = len(live.shelf.store._shelves[1])  # type: ignore[attr-defined]  # the store is the one in memory
    assert verdict(put(live, CHAT_OPENAI, LIKE)) == "hit"
    assert len(live.shelf.store._shelves[1]) == kept == 1  # type: ignore[attr-defined]  # as above


# --- S32: what the client wants


@pytest.mark.parametrize(
    ("asked", "expected"), [("0.01", "hit"), ("0", "hit"), ("0.85", "hit"), ("0.999", "miss"), ("1", "miss")]
)
def test_s32_a_client_may_raise_the_threshold_and_not_lower_it(
    live: LiveGateway, asked: str, expected: str
) -> None:
    like(live, CHAT_OPENAI)
    put(live, CHAT_OPENAI, FIRST)
    sent = {"x-gateway-semantic-threshold": asked}
    assert verdict(put(live, CHAT_OPENAI, LIKE, sent=sent)) == expected
    # A question that is like it, and not like enough for the route.
    changed(live, threshold=0.999)
    assert verdict(put(live, CHAT_OPENAI, LIKE + "!", sent=sent)) == "miss"


@pytest.mark.parametrize("asked", ["", "x", "-1", "1.1", "nan", "inf", "1e-9", "\u0660", "0.5, 0.1"])
def test_s32_a_threshold_that_is_none_is_refused(live: LiveGateway, asked: str) -> None:
    like(live, CHAT_OPENAI)
    answer = put(live, CHAT_OPENAI, FIRST, sent={"x-gateway-semantic-threshold": asked.encode()})
    assert answer.status == 400
    assert answer.error()["code"] == "invalid_header"


def test_s32_no_cache_asks_the_provider_and_keeps_what_it_says(
    live: LiveGateway, fake_upstream: FakeUpstream
) -> None:
    like(live, CHAT_OPENAI)
    put(live, CHAT_OPENAI, FIRST)
    answer = put(live, CHAT_OPENAI, LIKE, sent={"cache-control": "no-cache"})
    assert verdict(answer) == "bypass"
    assert len(fake_upstream.requests) == 2
    assert verdict(put(live, CHAT_OPENAI, "Tell me: what is the capital of France?")) == "hit"


def test_s32_no_store_leaves_nothing_behind(live: LiveGateway, fake_upstream: FakeUpstream) -> None:
    like(live, CHAT_OPENAI)
    put(live, CHAT_OPENAI, FIRST, sent={"cache-control": "no-store"})
    assert verdict(put(live, CHAT_OPENAI, LIKE)) == "miss"
    assert verdict(put(live, CHAT_OPENAI, FIRST, sent={"cache-control": "no-store"})) == "bypass"
    assert len(fake_upstream.requests) == 3


def test_s32_an_age_that_is_too_old_for_a_client_stays_for_the_others(live: LiveGateway) -> None:
    like(live, CHAT_OPENAI)
    put(live, CHAT_OPENAI, FIRST)
    live.wall = 10.0
    old = put(live, CHAT_OPENAI, LIKE, sent={"cache-control": "max-age=5", "x-gateway-cache-ttl": "0"})
    assert verdict(old) == "miss"
    assert verdict(put(live, CHAT_OPENAI, LIKE)) == "hit"


# --- S33: what is never kept


@pytest.mark.parametrize("finish", ["length", "content_filter", "tool_calls"])
def test_s33_what_the_cache_does_not_keep_serves_nobody(
    live: LiveGateway, fake_upstream: FakeUpstream, finish: str
) -> None:
    like(live, CHAT_OPENAI)
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    message = {"role": "assistant", "content": "Half an"}
    if finish == "tool_calls":
        message = {"role": "assistant", "content": None, "tool_calls": [call]}  # type: ignore[dict-item]  # JSON
    whole = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o",
        "choices": [{"index": 0, "finish_reason": finish, "message": message}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
    fake_upstream.script("/chat/completions", [Json(200, whole)], times=1)
    assert put(live, CHAT_OPENAI, FIRST, tools=[TOOL]).status == 200
    assert verdict(put(live, CHAT_OPENAI, LIKE, tools=[TOOL])) == "miss"


def test_s33_errors_serve_nobody(live: LiveGateway, fake_upstream: FakeUpstream) -> None:
    like(live, CHAT_OPENAI)
    fake_upstream.script("/chat/completions", [Json(400, {"error": {"message": "no"}})], times=1)
    assert put(live, CHAT_OPENAI, FIRST).status == 400
    assert verdict(put(live, CHAT_OPENAI, LIKE)) == "miss"


def test_several_answers_and_high_temperatures_do_not_take_part(live: LiveGateway) -> None:
    like(live, CHAT_OPENAI)
    for fields in ({"n": 2}, {"temperature": 1.0}):
        put(live, CHAT_OPENAI, FIRST, **fields)
        assert verdict(put(live, CHAT_OPENAI, LIKE, **fields)) == "bypass"


def test_s33_a_purge_takes_effect_at_once(live: LiveGateway) -> None:
    like(live, CHAT_OPENAI)
    put(live, CHAT_OPENAI, FIRST)
    live.use(replace(live.holder.current, purges=(Purge(1, team_id=1),)))
    assert verdict(put(live, CHAT_OPENAI, LIKE)) == "miss"


def test_an_answer_that_is_gone_is_forgotten_here_too(live: LiveGateway) -> None:
    like(live, CHAT_OPENAI)
    put(live, CHAT_OPENAI, FIRST)
    store = live.answers.vectors.made
    before = len(store)  # type: ignore[arg-type]  # the one in memory
    live.shelf.store = live._answers()
    assert verdict(put(live, CHAT_OPENAI, LIKE, sent={"x-gateway-cache-ttl": "0"})) == "miss"
    assert len(store) == before - 1  # type: ignore[arg-type]  # as above


# --- Shadow mode


def test_a_shadow_counts_and_answers_nothing(live: LiveGateway, fake_upstream: FakeUpstream) -> None:
    like(live, CHAT_OPENAI, mode="shadow")
    before = requests(live, "shadow_hit")
    put(live, CHAT_OPENAI, FIRST)
    shadow = put(live, CHAT_OPENAI, LIKE)
    assert verdict(shadow) == "miss"
    assert shadow.header("x-gateway-cache-similarity") is None
    assert len(fake_upstream.requests) == 2
    assert requests(live, "shadow_hit") == before + 1
    record = live.wait_record(2)
    assert record.cache == "miss"
    assert record.semantic == "shadow_hit"
    assert record.cost
    # Exact hits are hits all the same.
    assert verdict(put(live, CHAT_OPENAI, LIKE)) == "hit"


# --- What is written down


def test_prompts_are_written_down_only_where_the_route_says_so(live: LiveGateway) -> None:
    like(live, CHAT_OPENAI)
    live.answers.hits.take()
    put(live, CHAT_OPENAI, FIRST)
    put(live, CHAT_OPENAI, LIKE)
    (hit,) = live.answers.hits.take()
    assert (hit.kind, hit.prompt, hit.team, hit.threshold) == ("hit", "", 1, 0.85)
    changed(live, prompts=True)
    put(live, CHAT_OPENAI, "Who wrote\x00 Hamlet?")
    put(live, CHAT_OPENAI, "Please tell me, who wrote\x00 Hamlet?")
    kept, hit = live.answers.hits.take()
    assert (kept.kind, hit.kind) == ("kept", "hit")
    assert kept.entry == hit.entry
    assert kept.prompt == "Who wrote\ufffd Hamlet?"
    assert hit.prompt == "Please tell me, who wrote\ufffd Hamlet?"


# --- The official SDKs


def test_openai_sdk_reads_a_replayed_stream(live: LiveGateway) -> None:
    like(live, CHAT_OPENAI)
    with OpenAI(base_url=live.openai_url, api_key=live.key, max_retries=0) as client:
        texts = []
        for text in (FIRST, LIKE):
            stream = client.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": text}], stream=True
            )
            texts.append("".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices))
            live.wait(lambda: live.ears.open == 0 and not live.shelf._jobs)
    assert texts[0] == texts[1] != ""
    assert live.wait_record(2).semantic == "hit"


def test_anthropic_sdk_reads_a_replayed_stream(live: LiveGateway) -> None:
    like(live, MESSAGES_ANTHROPIC)
    with Anthropic(base_url=live.url, api_key=live.key, max_retries=0) as client:
        texts = []
        for text in (FIRST, LIKE):
            with client.messages.stream(
                model="claude-opus-4-5", max_tokens=500, messages=[{"role": "user", "content": text}]
            ) as stream:
                texts.append(stream.get_final_text())
            live.wait(lambda: live.ears.open == 0 and not live.shelf._jobs)
    assert texts[0] == texts[1] != ""
    assert live.wait_record(2).semantic == "hit"


def test_a_route_without_it_is_left_alone(live: LiveGateway) -> None:
    like(live, CHAT_OPENAI)
    snapshot = live.holder.current
    live.use(replace(snapshot, routes=tuple(replace(route, semantic=None) for route in snapshot.routes)))
    before = live.registry.get_sample_value(
        "gateway_semantic_requests_total", {"route": "*", "result": "miss"}
    )
    say(live, CHAT_OPENAI, messages=[{"role": "user", "content": FIRST}])
    assert (
        live.registry.get_sample_value("gateway_semantic_requests_total", {"route": "*", "result": "miss"})
        == before
    )
