"""Limits and budgets as clients see them: what is left, in headers, and refusals that their SDKs raise."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from itertools import count
from typing import Any

import anthropic
import openai
import orjson
import pytest

from dialects.types import ModelFacts
from pipeline.call import Record
from routing.allowances import NANO, Budget, Limit
from routing.prices import cost
from routing.snapshot import CatalogueModel, Price
from tests.e2e.prompts import user
from tests.e2e.raising import every_sdk, every_way, raised, read_broken
from tests.e2e.sdks import Stage
from tests.support.upstream.script import Answer, Json, Send, SendHead, Stall, Wait

_ids = count(1)
DURATION = re.compile(r"(\d+h)?(\d+m)?\d+(\.\d+)?(ms|s)\Z")
PRICE = Price(input=2.5, output=10.0)


def limit(kind: Any, amount: int, **fields: Any) -> Limit:
    """For the key, in an hour unless said otherwise."""
    span = 0 if kind == "concurrency" else 3600
    return Limit(next(_ids), kind, amount, **{"span": span, "key_id": 1, **fields})


def budget(amount: int, **fields: Any) -> Budget:
    """A day's tokens of the key, unless said otherwise."""
    return Budget(next(_ids), amount=amount, **{"unit": "tokens", "period": "day", "key_id": 1, **fields})


def allow(stage: Stage, *rows: Limit | Budget) -> None:
    gateway = stage.gateway
    models = ("gpt-4o", "gpt-4o-mini")
    gateway.use(
        gateway.snapshot(
            key={
                "limits": tuple(row for row in rows if isinstance(row, Limit)),
                "budgets": tuple(row for row in rows if isinstance(row, Budget)),
            },
            catalogue={
                ("openai", name): CatalogueModel("openai", ModelFacts(name), PRICE) for name in models
            },
        )
    )


def ask(stage: Stage, sdk: str, way: str = "whole", **fields: Any) -> Any:
    """The raw HTTP reply of a call that succeeds, read to its end."""
    fields = {"model": "gpt-4o", "max_tokens": 50, "messages": user("hi"), **fields}
    fields["stream"] = way.endswith("stream")
    client: Any = stage.sdks.openai.chat.completions if sdk == "openai" else stage.sdks.anthropic.messages
    with client.with_streaming_response.create(**fields) as reply:
        reply.read()
        return reply


def ask_body(stage: Stage, **fields: Any) -> bytes:
    """What a stream of chat completions holds."""
    create: Any = stage.sdks.openai.chat.completions.with_raw_response.create
    reply = create(model="gpt-4o", messages=user("hi"), stream=True, **fields)
    return bytes(reply.http_response.read())


def refusals(stage: Stage, kind: str, scope: str) -> float:
    labels = {"kind": kind, "scope": scope}
    return stage.gateway.registry.get_sample_value("gateway_limit_refusals_total", labels) or 0.0


@every_sdk
@pytest.mark.parametrize("way", ["whole", "stream"])
def test_every_reply_says_what_is_left(stage: Stage, sdk: str, way: str) -> None:
    allow(stage, limit("requests", 5), limit("tokens", 1000))
    for left in (4, 3):
        said = ask(stage, sdk, way).headers
        assert said["x-ratelimit-limit-requests"] == "5"
        assert said["x-ratelimit-remaining-requests"] == str(left)
        assert said["x-ratelimit-limit-tokens"] == "1000"
        assert 800 < int(said["x-ratelimit-remaining-tokens"]) < 950
        for kind in ("requests", "tokens"):
            assert DURATION.match(said[f"x-ratelimit-reset-{kind}"])
            assert said[f"x-ratelimit-reset-{kind}"].startswith("1h")
            if sdk == "anthropic":
                assert said[f"anthropic-ratelimit-{kind}-limit"] == said[f"x-ratelimit-limit-{kind}"]
                assert said[f"anthropic-ratelimit-{kind}-remaining"] == said[f"x-ratelimit-remaining-{kind}"]
                reset = datetime.fromisoformat(said[f"anthropic-ratelimit-{kind}-reset"])
                assert 3500 < (reset - datetime.now(UTC)).total_seconds() < 3800


@every_sdk
def test_a_key_without_limits_hears_nothing_of_them(stage: Stage, sdk: str) -> None:
    assert not [name for name in ask(stage, sdk).headers if "ratelimit" in name]


@every_sdk
def test_of_several_limits_the_tightest_is_told(stage: Stage, sdk: str) -> None:
    allow(
        stage,
        limit("requests", 100),
        limit("requests", 7, span=60),
        limit("requests", 50, team_id=1, key_id=None),
    )
    assert ask(stage, sdk).headers["x-ratelimit-limit-requests"] == "7"


@every_sdk
def test_an_error_too_says_what_is_left(stage: Stage, sdk: str) -> None:
    allow(stage, limit("requests", 5))
    stage.fake.script("", [Json(400, {"error": {"message": "no", "type": "invalid_request_error"}})])
    error = raised(stage, sdk)
    assert error.status_code == 400
    assert error.response.headers["x-ratelimit-limit-requests"] == "5"


@every_sdk
@every_way
@pytest.mark.parametrize(
    ("row", "scope", "code"),
    [
        (limit("requests", 1), "key", "requests"),
        (limit("requests", 1, team_id=1, key_id=None), "team", "requests"),
        (limit("requests", 1, key_id=None), "everybody", "requests"),
        (limit("requests", 1, model="gpt-*"), "key", "requests"),
        (limit("tokens", 70), "key", "tokens"),
    ],
    ids=["key", "team", "everybody", "model", "tokens"],
)
def test_a_limit_refuses(stage: Stage, sdk: str, way: str, row: Limit, scope: str, code: str) -> None:
    allow(stage, row)
    before = refusals(stage, code, scope)
    ask(stage, sdk, model="gpt-4o", messages=user("say:one two three four five six seven eight nine ten"))
    error = raised(stage, sdk, way)
    assert type(error).__name__ == "RateLimitError"
    assert error.status_code == 429
    if sdk == "openai":
        assert (error.type, error.code) == ("rate_limit_error", code)
    else:
        assert error.type == "rate_limit_error"
    said = error.response.headers
    assert said["x-should-retry"] == "true"
    assert 3500 <= int(said["retry-after"]) <= 3661
    assert said[f"x-ratelimit-limit-{code}"] == str(row.amount)
    assert said["x-request-id"] == error.request_id
    assert len(stage.fake.requests) == 1
    assert refusals(stage, code, scope) == before + 1
    record: Record = stage.gateway.wait_record(2)
    assert (record.code, record.status, record.outcome, record.cost) == (code, 429, "error", 0)


def test_a_limit_of_one_model_leaves_the_others(stage: Stage) -> None:
    allow(stage, limit("requests", 1, model="gpt-4o"))
    ask(stage, "openai")
    raised(stage, "openai")
    assert ask(stage, "openai", model="gpt-4o-mini").status_code == 200


@every_sdk
def test_what_never_fits_is_not_asked_again(stage: Stage, sdk: str) -> None:
    allow(stage, limit("tokens", 100))
    error = raised(stage, sdk, max_tokens=101)
    assert error.status_code == 429
    assert error.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in error.response.headers
    assert "100 tokens" in error.message


def test_an_answer_without_a_cap_fits_a_small_limit(stage: Stage) -> None:
    """What is reserved for it is a guess, and a guess makes no call impossible."""
    allow(stage, limit("tokens", 100))
    assert ask(stage, "openai", max_tokens=openai.omit).status_code == 200


@every_sdk
def test_concurrency_is_counted_to_the_last_byte(stage: Stage, sdk: str) -> None:
    allow(stage, limit("concurrency", 1))
    stage.fake.script("", [Answer(events=5), Stall()], times=1)
    fields = {"model": "gpt-4o", "max_tokens": 500, "messages": user("count:9"), "stream": True}
    client: Any = stage.sdks.openai.chat.completions if sdk == "openai" else stage.sdks.anthropic.messages
    with client.create(**fields) as events:
        next(iter(events))
        error = raised(stage, "openai" if sdk == "anthropic" else "anthropic")
    assert error.status_code == 429
    assert error.response.headers["retry-after"] == "1"
    stage.gateway.idle()
    # One after the other is one at a time.
    for _ in range(5):
        assert ask(stage, sdk).status_code == 200


def test_tokens_are_settled_to_what_was_used(stage: Stage) -> None:
    allow(stage, limit("tokens", 1000))
    ask(stage, "openai", max_tokens=900)
    used = stage.gateway.wait_record().usage
    assert used is not None
    left = int(ask(stage, "openai", max_tokens=1).headers["x-ratelimit-remaining-tokens"])
    reserved = 1 + 1
    assert left == 1000 - used.input_tokens - used.output_tokens - reserved


@every_sdk
@every_way
def test_a_budget_refuses_what_does_not_fit(stage: Stage, sdk: str, way: str) -> None:
    allow(stage, budget(100))
    error = raised(stage, sdk, way, max_tokens=100)
    if sdk == "openai":
        assert (error.status_code, error.type, error.code) == (
            429,
            "insufficient_quota",
            "insufficient_quota",
        )
    else:
        assert (error.status_code, error.type) == (402, "billing_error")
    assert error.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in error.response.headers
    assert stage.fake.requests == []
    record = stage.gateway.wait_record()
    assert record.code == "insufficient_quota"
    assert refusals(stage, "budget", "key") >= 1


def test_a_budget_in_money_is_settled_to_the_nano_dollar(stage: Stage) -> None:
    row = budget(10 * NANO, unit="usd")
    allow(stage, row)
    paid = 0
    for number in range(1, 4):
        ask(stage, "openai", messages=user(f"count:{number}"))
        record = stage.gateway.wait_record(number)
        assert record.usage is not None
        assert record.cost == cost(PRICE, record.usage)
        assert record.cost
        paid += record.cost
    spent = stage.gateway.registry.get_sample_value(
        "gateway_budget_spent_ratio", {"budget": f"usd day {row.id}", "scope": "key", "owner": ""}
    )
    assert spent == pytest.approx(paid / (10 * NANO))


def test_a_budget_goes_on_from_what_the_ledger_says(stage: Stage) -> None:
    allow(stage, budget(1000))
    stage.gateway.spent = 990
    assert raised(stage, "openai", max_tokens=20).code == "insufficient_quota"
    assert ask(stage, "openai", max_tokens=5).status_code == 200


def test_a_soft_budget_refuses_nothing(stage: Stage) -> None:
    allow(stage, budget(10, hard=False))
    for _ in range(3):
        assert ask(stage, "openai", max_tokens=100).status_code == 200


@pytest.mark.parametrize("row", [limit("concurrency", 0), budget(0, hard=False)], ids=["limit", "budget"])
@every_sdk
def test_a_row_that_cannot_be_understood_lets_nothing_through(
    stage: Stage, sdk: str, row: Limit | Budget
) -> None:
    allow(stage, row)
    error = raised(stage, sdk)
    assert error.status_code in (402, 429)
    assert "cannot be read" in error.message
    assert error.response.headers["x-should-retry"] == "false"


def talk(pieces: int, pause: float = 0.0) -> list[Any]:
    """A stream of pieces of 400 characters, taken for 100 tokens each, whatever the cap that was asked."""
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
    steps: list[Any] = [SendHead(200, {"content-type": "text/event-stream"})]
    for number in range(pieces):
        last = number == pieces - 1
        delta = {"content": "word " * 80}
        choice = {"index": 0, "delta": delta, "finish_reason": "stop" if last else None}
        steps += [Send(b"data: " + orjson.dumps({**chunk, "choices": [choice]}) + b"\n\n"), Wait(pause)]
    return [*steps, Send(b"data: [DONE]\n\n")]


@every_sdk
def test_a_stream_is_cut_when_a_budget_is_spent_on_the_way(stage: Stage, sdk: str) -> None:
    """More is reserved as it comes; where nothing is left the stream ends, and says why."""
    allow(stage, budget(2000))
    stage.fake.script("", talk(60, pause=0.01))
    text, error = read_broken(stage, sdk, lambda: None, model="gpt-4o", max_tokens=100, messages=user("hi"))
    # 200, taken for what the cap may come to in our tokens, and one step of 1024 that still fits.
    assert 1200 * 4 < len(text) < 2000 * 4
    assert "budget" in str(error)
    record = stage.gateway.wait_record()
    assert (record.outcome, record.code) == ("error", "insufficient_quota")
    assert record.usage is not None
    assert record.usage.source == "estimated"
    stage.gateway.idle()
    # Charged for what was delivered, and for nothing of what was reserved on the way.
    used = record.usage.input_tokens + record.usage.output_tokens
    stage.fake.reset()
    assert ask(stage, "openai", max_tokens=2000 - used - 10).status_code == 200


@every_sdk
def test_a_stream_longer_than_was_reserved_goes_on_while_there_is_budget(stage: Stage, sdk: str) -> None:
    allow(stage, budget(20_000))
    stage.fake.script("", talk(60))
    assert ask(stage, sdk, "stream", max_tokens=100).status_code == 200
    record = stage.gateway.wait_record()
    assert (record.outcome, record.code) == ("ok", "")
    assert record.usage is not None
    assert record.usage.output_tokens == 6000
    stage.fake.reset()
    assert ask(stage, "openai", max_tokens=20_000 - 6000 - 200).status_code == 200
    assert raised(stage, "openai", max_tokens=20_000 - 6000).code == "insufficient_quota"


def test_a_stream_that_is_over_is_not_cut(stage: Stage) -> None:
    allow(stage, budget(300))
    head, *steps = talk(10)
    # All of it at once: its end is here before there is an answer to the question for more.
    whole = b"".join(step.data for step in steps if isinstance(step, Send))
    stage.fake.script("", [head, Send(whole)], times=1)
    assert b"budget" not in ask_body(stage, max_tokens=100)


def test_callers_at_once_share_a_limit_in_tokens(stage: Stage) -> None:
    """What was really used stays within the limit."""
    allow(stage, limit("tokens", 10_000))
    create: Any = stage.sdks.async_openai.chat.completions.create

    async def one() -> int:
        try:
            answer = await create(model="gpt-4o", max_tokens=300, messages=user("count:200"))
        except openai.RateLimitError:
            return 0
        return int(answer.usage.total_tokens)

    async def many() -> list[int]:
        return await asyncio.gather(*(one() for _ in range(50)))

    used = stage.sdks.run(many())
    assert 0 < sum(used) <= 10_500
    assert used.count(0) > 0


def test_anthropics_own_errors_are_typed(stage: Stage) -> None:
    allow(stage, limit("requests", 1))
    ask(stage, "anthropic")
    with pytest.raises(anthropic.RateLimitError):
        stage.sdks.anthropic.messages.create(
            model="gpt-4o", max_tokens=5, messages=[{"role": "user", "content": "x"}]
        )
