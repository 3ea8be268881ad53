"""P7: whatever the semantic cache works with is slow, frozen, dead or talks nonsense: calls go on without."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import Any

import orjson
import pytest

from dialects.types import ModelFacts
from pipeline.semantic import lazily, postgres, respite
from pipeline.semantic.lazily import Lazily
from pipeline.semantic.postgres import PostgresVectors
from pipeline.semantic.redis import RedisVectors
from pipeline.semantic.respite import Respite
from pipeline.semantic.tests.asking import FIRST, LIKE, like, put, stored
from pipeline.tests.caching import metric, verdict
from routing.allowances import Budget
from routing.snapshot import CatalogueModel, Price
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.services import PostgresServer, RedisServer
from tests.support.surfaces import CHAT_OPENAI
from tests.support.upstream.script import Answer, Json, Stall, Step, Wait

EMBEDDER = "text-embedding-3-small"
# What a call may lose by looking, and a loaded machine's own delays: far below a frozen service's silence.
SECONDS = 0.1
PATIENCE = 2.0


def routed(gateway: LiveGateway, **settings: Any) -> None:
    """Like questions by a model that the gateway routes."""
    provider = gateway.provider("openai")
    like(gateway, CHAT_OPENAI, gateway.route(EMBEDDER, provider, id=77), embedder=EMBEDDER, **settings)
    snapshot = gateway.holder.current
    price = CatalogueModel("openai", ModelFacts(EMBEDDER), Price(input=20.0, output=0.0))
    gateway.use(replace(snapshot, catalogue={**snapshot.catalogue, ("openai", EMBEDDER): price}))


def embeddings(fake: FakeUpstream) -> int:
    return sum("/embeddings" in request.path for request in fake.requests)


def errors(gateway: LiveGateway, reason: str) -> float:
    return metric(gateway, "gateway_cache_errors_total", reason=reason)


# --- A model that the gateway routes


def test_a_routed_model_is_asked_through_the_gateway_and_charged_to_the_team(
    gateway: LiveGateway, fake_upstream: FakeUpstream
) -> None:
    # The fake's vectors are of whole texts, so only the threshold's end tells anything: the same question
    # after another beginning of the partition.
    routed(gateway, seconds=5.0, guard="off", threshold=0.5)
    assert put(gateway, CHAT_OPENAI, FIRST).status == 200
    inner, outer = gateway.wait_record(1), gateway.wait_record(2)
    assert (inner.surface, inner.model, inner.team) == ("embeddings", EMBEDDER, "default")
    assert inner.request_id == f"{outer.request_id}-embedding"
    assert inner.cost
    assert inner.usage is not None
    assert inner.usage.source == "provider"
    assert (inner.outcome, inner.status, inner.key_prefix) == ("ok", 200, outer.key_prefix)
    assert outer.surface == "chat"
    assert embeddings(fake_upstream) == 1


def test_a_key_need_not_be_allowed_the_embedder(gateway: LiveGateway, fake_upstream: FakeUpstream) -> None:
    routed(gateway, seconds=5.0)
    snapshot = gateway.holder.current
    keys = {digest: replace(key, allowed_models=("gpt-4o",)) for digest, key in snapshot.keys.items()}
    gateway.use(replace(snapshot, keys=keys))
    assert put(gateway, CHAT_OPENAI, FIRST).status == 200
    assert embeddings(fake_upstream) == 1


def test_a_like_question_is_found_by_a_routed_model(
    gateway: LiveGateway, fake_upstream: FakeUpstream
) -> None:
    def near(request: Any) -> list[Step]:
        text = orjson.loads(request.body)["input"]
        vector = [1.0, 0.1 if "please" in text.lower() else 0.0]
        data = [{"object": "embedding", "index": 0, "embedding": vector}]
        usage = {"prompt_tokens": 5, "total_tokens": 5}
        return [Json(200, {"object": "list", "model": EMBEDDER, "data": data, "usage": usage})]

    fake_upstream.script("/embeddings", near)
    routed(gateway, seconds=5.0)
    put(gateway, CHAT_OPENAI, FIRST)
    answer = put(gateway, CHAT_OPENAI, LIKE)
    assert verdict(answer) == "hit"
    assert float(answer.header("x-gateway-cache-similarity") or 0) == pytest.approx(0.995, abs=1e-3)


@pytest.mark.parametrize(
    "steps",
    [
        [Stall()],
        [Wait(1.0), Answer()],
        [Json(500, {"error": {"message": "down"}})],
        [Json(200, {"object": "list", "data": [], "model": EMBEDDER})],
        [Json(200, {"object": "list", "data": [{"embedding": [0, 0, 0], "index": 0}], "model": EMBEDDER})],
        [Json(200, {"object": "list", "data": [{"embedding": ["x"], "index": 0}], "model": EMBEDDER})],
        [Json(200, {"object": "list", "data": [{"embedding": "!", "index": 0}], "model": EMBEDDER})],
    ],
    ids=["silent", "slow", "error", "empty", "zero", "no_numbers", "no_base64"],
)
def test_p7_an_embedder_that_fails_is_done_without(
    gateway: LiveGateway, fake_upstream: FakeUpstream, steps: list[Step]
) -> None:
    routed(gateway, seconds=SECONDS)
    fake_upstream.script("/embeddings", steps)
    began = time.monotonic()
    answer = put(gateway, CHAT_OPENAI, FIRST)
    assert (answer.status, verdict(answer)) == (200, "miss")
    assert time.monotonic() - began < PATIENCE
    assert errors(gateway, "embedder_timeout") + errors(gateway, "embedder_error") >= 1
    assert metric(gateway, "gateway_semantic_requests_total", route="*", result="failed") >= 1


def test_p7_an_embedder_that_failed_is_left_alone_for_a_while(
    gateway: LiveGateway, fake_upstream: FakeUpstream
) -> None:
    routed(gateway, seconds=SECONDS)
    fake_upstream.script("/embeddings", [Stall()])
    for number in range(6):
        assert put(gateway, CHAT_OPENAI, f"{FIRST} {number}").status == 200
    assert embeddings(fake_upstream) <= respite.FAILURES


def test_a_teams_spent_budget_is_no_outage_of_the_embedder(
    gateway: LiveGateway, fake_upstream: FakeUpstream
) -> None:
    routed(gateway, seconds=5.0)
    snapshot = gateway.holder.current
    spent = Budget(id=1, amount=1, unit="usd", period="month", hard=False)
    keys = {digest: replace(key, budgets=(spent,)) for digest, key in snapshot.keys.items()}
    gateway.use(replace(snapshot, keys=keys))
    for number in range(5):
        assert put(gateway, CHAT_OPENAI, f"{FIRST} {number}").status == 200
    assert embeddings(fake_upstream) == 5


# --- Stores


@pytest.mark.valkey
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_p7_a_redis_that_is_away_is_done_without(
    gateway: LiveGateway, fresh_redis: RedisServer, how: str
) -> None:
    like(gateway, CHAT_OPENAI)
    with stored(gateway, RedisVectors(fresh_redis.url)):
        put(gateway, CHAT_OPENAI, FIRST)
        assert verdict(put(gateway, CHAT_OPENAI, LIKE)) == "hit"
        getattr(fresh_redis, how)()
        began = time.monotonic()
        answer = put(gateway, CHAT_OPENAI, "Tell me: what is the capital of France?")
        assert (answer.status, verdict(answer)) == (200, "miss")
        assert time.monotonic() - began < PATIENCE
        assert errors(gateway, "vectors_timeout") + errors(gateway, "vectors_error") >= 1
        if how == "stop":
            fresh_redis.cont()


@pytest.mark.postgres
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_p7_a_postgres_that_is_away_is_done_without(
    gateway: LiveGateway, fresh_postgres: PostgresServer, how: str
) -> None:
    postgres.prepare(fresh_postgres.url)
    like(gateway, CHAT_OPENAI, seconds=1.0)
    store = PostgresVectors(fresh_postgres.url)
    with stored(gateway, store):
        put(gateway, CHAT_OPENAI, FIRST)
        assert verdict(put(gateway, CHAT_OPENAI, LIKE)) == "hit"
        getattr(fresh_postgres, how)()
        answers = [put(gateway, CHAT_OPENAI, f"{FIRST} {number}") for number in range(2)]
        assert [(answer.status, verdict(answer)) for answer in answers] == [(200, "miss")] * 2
        if how == "stop":
            fresh_postgres.cont()
        asyncio.run_coroutine_threadsafe(store.aclose(), gateway.loop).result(10)


# --- Loading


def test_nothing_is_loaded_where_no_route_asks_for_it() -> None:
    """Numpy and the tokenizer cost a second and fifty megabytes: the default gateway has neither."""
    program = (
        "import os, sys\n"
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'gateway_project.settings'\n"
        "import django\n"
        "django.setup()\n"
        "import gateway_project.wiring\n"
        "heavy = {'numpy', 'tokenizers', 'safetensors', 'wordllama', 'pgvector'} & set(sys.modules)\n"
        "print(sorted(heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_embedded_model_never_goes_online() -> None:
    """Not even the package whose weights it reads is imported, which would."""
    program = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('went online')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from pipeline.semantic.local_model import LocalModel\n"
        "assert len(LocalModel().vector('a question') or b'') == 1024\n"
        "print(sorted({'wordllama', 'requests', 'huggingface_hub'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_calls_go_on_while_the_model_is_loaded(gateway: LiveGateway) -> None:
    like(gateway, CHAT_OPENAI)
    go = threading.Event()
    real = gateway.answers.vectors._made
    assert real is not None

    def make(_module: Any) -> Any:
        go.wait(10)
        return real

    slow: Lazily[Any] = Lazily("pipeline.semantic.memory", make)
    fast = gateway.answers.vectors
    object.__setattr__(gateway.answers, "vectors", slow)
    try:
        assert put(gateway, CHAT_OPENAI, FIRST).status == 200
        assert metric(gateway, "gateway_semantic_requests_total", route="*", result="skipped") == 1
        go.set()
        gateway.wait(lambda: slow.made is not None)
        put(gateway, CHAT_OPENAI, FIRST + " Now.")
        assert verdict(put(gateway, CHAT_OPENAI, LIKE + " Now.")) == "hit"
    finally:
        go.set()
        object.__setattr__(gateway.answers, "vectors", fast)


def test_what_cannot_be_made_is_tried_again_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lazily, "AGAIN_SECONDS", 0.0)
    tries: list[int] = []

    def make(_module: Any) -> str:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("postgres://user:secret@host")
        return "made"

    thing: Lazily[str] = Lazily("pipeline.semantic.stores", make)
    end = time.monotonic() + 10
    while thing.get() is None and time.monotonic() < end:
        time.sleep(0.001)
    assert thing.made == "made"
    assert "OSError" in caplog.text
    assert "secret" not in caplog.text


def test_a_respite_lets_one_try_through_at_a_time() -> None:
    now = 0.0
    rest = Respite(lambda: now)
    seen = []
    for _ in range(respite.FAILURES):
        seen.append(rest.resting)
        rest.failed()
    seen.append(rest.resting)
    now += respite.SECONDS
    seen += [rest.resting, rest.resting]
    rest.worked()
    seen.append(rest.resting)
    assert seen == [*[False] * respite.FAILURES, True, False, True, False]
