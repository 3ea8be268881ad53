"""Batches by the official SDK: whose they are, what may be in them, and that none goes around a limit."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal

import openai
import pytest

from routing.allowances import Budget, Limit
from tests.e2e.keeping import Kept, jsonl
from tests.support.fake_upstream import Match
from tests.support.upstream.openai_files import complete
from tests.support.upstream.script import Close, Json

Endpoint = Literal["/v1/chat/completions", "/v1/embeddings", "/v1/moderations"]
CHAT: Endpoint = "/v1/chat/completions"
POSTED = Match(path="/batches", where=lambda request: request.method == "POST")


def upload(client: openai.OpenAI, content: bytes, **given: Any) -> str:
    return client.files.create(file=("batch.jsonl", content), purpose="batch", **given).id


def batch(client: openai.OpenAI, content: bytes, endpoint: Endpoint = CHAT) -> Any:
    return client.batches.create(
        input_file_id=upload(client, content), endpoint=endpoint, completion_window="24h"
    )


def test_the_life_of_a_batch(kept: Kept) -> None:
    made = kept.a.batches.create(
        input_file_id=upload(kept.a, jsonl("gpt-4o", "gpt-4o-mini")),
        endpoint=CHAT,
        completion_window="24h",
        metadata={"for": "tests"},
    )
    assert (made.status, made.metadata) == ("validating", {"for": "tests"})
    record = kept.gateway.wait_record(2)
    assert (record.surface, record.provider, record.status) == ("batches", "one", 200)
    # The file was read before the batch was made.
    assert [attempt.outcome for attempt in record.attempts] == ["ok", "ok"]
    assert kept.a.batches.retrieve(made.id).id == made.id
    assert [one.id for one in kept.a.batches.list()] == [made.id]

    output = complete(kept.fake.memory, made.id, b'{"answers": 1}\n')
    done = kept.a.batches.retrieve(made.id)
    assert (done.status, done.output_file_id) == ("completed", output)
    assert kept.a.files.content(output).read() == b'{"answers": 1}\n'
    assert output in [file.id for file in kept.a.files.list(purpose="batch_output")]
    with pytest.raises(openai.NotFoundError):
        kept.b.files.content(output)


def test_one_that_is_cancelled(kept: Kept) -> None:
    made = batch(kept.a, jsonl("gpt-4o"))
    assert kept.a.batches.cancel(made.id).status == "cancelling"
    assert kept.fake.last.body == b""


def test_s35_a_team_has_no_part_in_anothers(kept: Kept) -> None:
    made = batch(kept.a, jsonl("gpt-4o"))
    seen = len(kept.fake.requests)
    for ask in (kept.b.batches.retrieve, kept.b.batches.cancel):
        with pytest.raises(openai.NotFoundError) as caught:
            ask(made.id)
        assert "No batch found" in caught.value.message
    assert list(kept.b.batches.list()) == []
    assert len(kept.fake.requests) == seen


def test_a_list_shows_each_as_it_is_now(kept: Kept) -> None:
    made = [batch(kept.a, jsonl("gpt-4o")).id for _ in range(3)]
    output = complete(kept.fake.memory, made[1], b"")
    listed = kept.a.batches.list(limit=2)
    assert ([one.id for one in listed.data], listed.has_more) == (made[:0:-1], True)
    assert [one.status for one in listed.data] == ["validating", "completed"]
    assert kept.a.files.retrieve(output).id == output
    seen = len(kept.fake.requests)
    assert [one.id for one in kept.a.batches.list(limit=2)] == made[::-1]
    # What is over is known: of the three, two are asked for.
    assert len(kept.fake.requests) == seen + 2


def test_it_runs_where_its_file_is(kept: Kept) -> None:
    name = upload(kept.a, jsonl("other-1"), extra_headers={"x-gateway-provider": "two"})
    kept.fake.memory.extra_models.add("other-1")
    kept.a.batches.create(input_file_id=name, endpoint=CHAT, completion_window="24h")
    assert kept.fake.last.path == "/two/v1/batches"
    assert len({request.header("authorization") for request in kept.fake.requests}) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no request"),
        (b"\n\n", "no request"),
        (b"not json\n", "Line 1"),
        (jsonl("gpt-4o") + b"{}\n", "Line 2"),
        (jsonl("gpt-4o", url="/v1/responses"), "Line 1"),
        (jsonl("gpt-4o").replace(b'"POST"', b'"GET"'), "Line 1"),
        (jsonl("gpt-4o").replace(b'"model":"gpt-4o",', b""), "names no model"),
        (jsonl("gpt-4o").replace(b'"model":', b'"model":"gpt-5","model":'), "Line 1"),
        (jsonl("gpt-4o", "claude-opus-4-5"), "Line 2"),
        (jsonl("gpt-4o", "other-1"), "Line 2"),
        (jsonl("gpt-4o")[:-1] + jsonl("gpt-4o"), "Line 1"),
    ],
)
def test_every_line_is_checked(kept: Kept, content: bytes, words: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        batch(kept.a, content)
    assert words in caught.value.message
    assert caught.value.param == "input_file_id"
    assert kept.fake.memory.batches == {}


def test_a_model_that_the_key_may_not_use(kept: Kept) -> None:
    kept.use(allowed_models=("gpt-4o-mini",))
    batch(kept.a, jsonl("gpt-4o-mini", "gpt-4o-mini"))
    with pytest.raises(openai.PermissionDeniedError) as caught:
        batch(kept.a, jsonl("gpt-4o-mini", "gpt-4o"))
    assert caught.value.code == "model_not_allowed"
    assert "Line 2" in caught.value.message
    assert len(kept.fake.memory.batches) == 1


def test_a_name_that_is_another_at_the_provider_cannot_be_checked(kept: Kept) -> None:
    route = kept.gateway.route("gpt-*", kept.providers["one"])
    target = replace(route.targets[0], upstream_model="gpt-4o-mini")
    kept.use([replace(route, targets=(target,))])
    with pytest.raises(openai.BadRequestError) as caught:
        batch(kept.a, jsonl("gpt-4o"))
    assert caught.value.code == "model_not_found"


def test_a_large_file_is_read_to_its_end(kept: Kept) -> None:
    lines = jsonl("gpt-4o") * 20_000
    batch(kept.a, lines)
    with pytest.raises(openai.BadRequestError) as caught:
        batch(kept.a, lines + jsonl("claude-opus-4-5"))
    assert "Line 20001" in caught.value.message


LIMITS: list[dict[str, Any]] = [
    {"limits": (Limit(1, "requests", 100),)},
    {"budgets": (Budget(1, "usd", 10**9, "month"),)},
]


@pytest.mark.parametrize("own", LIMITS, ids=["limits", "budgets"])
def test_none_goes_around_limits_and_budgets(kept: Kept, own: dict[str, Any]) -> None:
    kept.use(**own)
    with pytest.raises(openai.PermissionDeniedError) as caught:
        batch(kept.a, jsonl("gpt-4o"))
    assert caught.value.code == "batches_not_allowed"
    assert kept.fake.memory.batches == {}
    kept.use(**own, team=replace(kept.crews["a"].team, batches=True))
    assert batch(kept.a, jsonl("gpt-4o")).status == "validating"


def test_a_budget_that_is_spent_stops_files_too(kept: Kept) -> None:
    kept.use(limits=(Limit(1, "requests", 1),))
    upload(kept.a, jsonl("gpt-4o"))
    with pytest.raises(openai.RateLimitError):
        upload(kept.a, jsonl("gpt-4o"))


def test_a_batch_that_may_have_been_made_is_not_made_again(kept: Kept) -> None:
    name = upload(kept.a, jsonl("gpt-4o"))
    kept.fake.script(POSTED, [Close()])
    with pytest.raises(openai.InternalServerError):
        kept.a.batches.create(input_file_id=name, endpoint=CHAT, completion_window="24h")
    assert sum(request.method == "POST" and "batches" in request.path for request in kept.fake.requests) == 1


def test_one_that_was_refused_before_is(kept: Kept) -> None:
    name = upload(kept.a, jsonl("gpt-4o"))
    kept.fake.script(POSTED, [Json(429, {"error": {"message": "busy"}})], times=1)
    made = kept.a.batches.create(input_file_id=name, endpoint=CHAT, completion_window="24h")
    assert made.status == "validating"


def test_moderations_may_leave_the_model_out(kept: Kept) -> None:
    kept.use([kept.gateway.route("*", kept.providers["one"])])
    content = jsonl("x", url="/v1/moderations").replace(b'"model":"x",', b"")
    assert batch(kept.a, content, "/v1/moderations").status == "validating"
    assert Decimal(kept.gateway.wait_record(2).cost or 0) == 0
