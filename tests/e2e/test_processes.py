"""The gateway as `make run` starts it, under each server: what a new user, an operator and a client see."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx2
import openai
import psutil
import pytest

from accounts.keys import display_prefix
from tests.e2e import chat_ways, message_ways
from tests.e2e.prompts import user
from tests.e2e.sdks import KINDS, MODELS, ODD, PATHS, Kind, Sdks
from tests.support.fake_upstream import FakeUpstream
from tests.support.served import Served
from tests.support.upstream import mind
from tests.support.upstream.script import Answer, Json, Stall, WaitFor

SERVERS = ("daphne", "uvicorn")
KEY = "gw-first-key-of-these-tests-0123456789"
# All of them are tried against the gateway alone, without processes.
FEW_WAYS = ("whole", "stream", "async-helper")
pytestmark = pytest.mark.slow


def settings(fake: FakeUpstream, **more: str) -> dict[str, str]:
    """The environment of a gateway whose three providers are the fake."""
    return {
        "OPENAI_API_KEY": "sk-openai-0123456789",
        "ANTHROPIC_API_KEY": "sk-anthropic-0123456789",
        "LLM_GATEWAY_PROVIDERS_OPENAI_BASE_URL": fake.openai_url,
        "LLM_GATEWAY_PROVIDERS_ANTHROPIC_BASE_URL": fake.anthropic_url,
        "LLM_GATEWAY_PROVIDERS_OLLAMA_BASE_URL": fake.url,
        "LLM_GATEWAY_PROVIDERS_DEFAULT": "ollama",
        "LLM_GATEWAY_BOOTSTRAP_KEY": KEY,
        **more,
    }


@dataclass(frozen=True, slots=True)
class Running:
    """A served gateway and the SDKs that talk to it."""

    gateway: Served
    sdks: Sdks

    def get(self, path: str, **headers: str) -> httpx2.Response:
        return httpx2.get(self.gateway.url + path, headers=headers, timeout=10)

    def status(self, key: str) -> int:
        """What who has this key is told."""
        return self.get("/v1/models", authorization=f"Bearer {key}").status_code


def wait(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="module", params=SERVERS)
def started(request: pytest.FixtureRequest, fake_upstream_server: FakeUpstream) -> Iterator[Running]:
    """One gateway of each server for all tests of this file; ask for `running` instead."""
    values = settings(fake_upstream_server, LLM_GATEWAY_SERVER=request.param)
    with Served(None, **values) as gateway, Sdks(gateway.url, KEY) as sdks:
        yield Running(gateway, sdks)


@pytest.fixture
def running(started: Running, fake_upstream: FakeUpstream) -> Running:
    """The gateway in front of a clean upstream."""
    return started


# -- what a new user sees


@pytest.mark.parametrize("way", FEW_WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_chat(running: Running, fake_upstream: FakeUpstream, kind: Kind, way: str) -> None:
    answer = chat_ways.WAYS[way](running.sdks, model=MODELS[kind], messages=user("say:" + ODD))
    assert answer.choices[0].message.content == ODD
    assert answer.usage is not None
    assert answer.usage.completion_tokens == mind.tokens(ODD)
    assert fake_upstream.last.path == PATHS[kind]
    assert KEY not in repr(fake_upstream.last.headers)


@pytest.mark.parametrize("way", FEW_WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_messages(running: Running, kind: Kind, way: str) -> None:
    answer = message_ways.WAYS[way](running.sdks, model=MODELS[kind], messages=user("say:" + ODD))
    assert (message_ways.text_of(answer), answer.stop_reason) == (ODD, "end_turn")


@pytest.mark.parametrize("kind", KINDS)
def test_legacy_completions(running: Running, kind: Kind) -> None:
    create = running.sdks.openai.completions.create
    assert create(model=MODELS[kind], prompt="say:well", max_tokens=9).choices[0].text == "well"
    with create(model=MODELS[kind], prompt="say:well", max_tokens=9, stream=True) as chunks:
        assert "".join(chunk.choices[0].text for chunk in chunks) == "well"


def test_embeddings(running: Running) -> None:
    for model, width in (("text-embedding-3-small", 1536), ("nomic-embed-text", 768)):
        answer = running.sdks.openai.embeddings.create(model=model, input=["a", "b"])
        assert [row.embedding for row in answer.data] == [mind.vector(text, width) for text in "ab"]


def test_the_sandbox_needs_no_provider(running: Running, fake_upstream: FakeUpstream) -> None:
    for way in ("whole", "stream"):
        answer = chat_ways.WAYS[way](running.sdks, model="sandbox", messages=user("Hello"))
        assert "sandbox" in (answer.choices[0].message.content or "")
    message = message_ways.helper(running.sdks, model="sandbox", messages=user("Hello"))
    assert "sandbox" in message_ways.text_of(message)
    assert fake_upstream.requests == []


def test_the_models_by_both_sdks(running: Running) -> None:
    ours = {model.id for model in running.sdks.openai.models.list()}
    assert {"gpt-4o-mini", "claude-opus-4-5", "text-embedding-3-small", "sandbox"} <= ours
    assert {model.id for model in running.sdks.anthropic.models.list()} == ours
    assert running.sdks.anthropic.models.retrieve("qwen3:8b").id == "qwen3:8b"


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-of-tomorrow", "openai"),
        ("o1-preview", "openai"),
        ("o3-mini", "openai"),
        ("o4-mini", "openai"),
        ("text-embedding-3-large", "openai"),
        ("claude-of-tomorrow", "anthropic"),
        ("qwen3:8b", "ollama"),
        ("org/any-other", "ollama"),
        ("sandbox", "sandbox"),
    ],
)
def test_the_first_routes(running: Running, model: str, provider: str) -> None:
    assert running.sdks.openai.models.retrieve(model).owned_by == provider


def test_bodies_of_many_packets(running: Running, fake_upstream: FakeUpstream) -> None:
    text = "x" * 3_000_000
    message = {"role": "assistant", "content": text}
    answer = {
        "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
    }
    fake_upstream.script("", [Json(200, answer)], check=False)
    received = chat_ways.whole(running.sdks, model=MODELS["openai"], messages=user(text))
    assert received.choices[0].message.content == text
    assert fake_upstream.last.json["messages"][0]["content"] == text


def test_errors(running: Running) -> None:
    with pytest.raises(openai.AuthenticationError):
        running.sdks.openai.with_options(api_key="gw-wrong").models.list()
    with pytest.raises(anthropic.AuthenticationError):
        running.sdks.anthropic.with_options(api_key="gw-wrong").models.list()
    with pytest.raises(openai.NotFoundError):
        chat_ways.whole(running.sdks, model="gpt-of-nobody", messages=user("hi"))
    with pytest.raises(anthropic.BadRequestError, match="messages"):
        message_ways.whole(running.sdks, model=MODELS["openai"], messages="hi")


# -- what an operator sees


def test_health_and_readiness(running: Running) -> None:
    assert running.get("/health").json() == {"status": "ok"}
    assert running.get("/ready").json() == {"ready": True, "degraded": False}
    report = running.get("/ready", authorization=f"Bearer {KEY}").json()
    assert (report["ready"], report["database"]["ok"]) == (True, True)
    assert {"openai", "anthropic", "ollama", "sandbox"} <= set(report["providers"])
    assert "sk-" not in str(report)


def _count(page: str, name: str, **labels: str) -> float:
    lines = [line for line in page.splitlines() if line.startswith(name + "{")]
    fitting = [ln for ln in lines if all(f'{key}="{value}"' in ln for key, value in labels.items())]
    return sum(float(line.rpartition(" ")[2]) for line in fitting)


def test_metrics(running: Running) -> None:
    before = running.get("/metrics").text
    chat_ways.stream(running.sdks, model=MODELS["anthropic"], messages=user("count:9"))
    page = running.get("/metrics").text

    def grown(name: str, **labels: str) -> float:
        return _count(page, name, **labels) - _count(before, name, **labels)

    assert grown("gateway_requests_total", surface="chat", route="claude-*", code="ok", status="200") == 1
    words = mind.tokens(" ".join(f"word{number}" for number in range(1, 10)))
    assert grown("gateway_tokens_total", direction="output", provider="anthropic") == words
    assert grown("gateway_time_to_first_token_seconds_count", provider="anthropic") == 1
    assert "django_http_requests" in page


def test_the_admin_asks_who_one_is(running: Running) -> None:
    assert running.get("/").status_code == 302
    page = running.get("/admin/login/")
    assert page.status_code == 200
    assert 'name="csrfmiddlewaretoken"' in page.text
    style = re.search(r'href="(/static/[^"]+\.css)"', page.text)
    assert style
    assert running.get(style[1]).status_code == 200
    assert running.get("/admin/providers/provider/").status_code == 302


def test_keys_come_and_go_without_a_restart(running: Running) -> None:
    said = running.gateway.manage("keys", "issue", "--team", "crew", "--models", "claude-*")
    key = said.strip()
    assert said == key + "\n"
    wait(lambda: running.status(key) == 200)
    with Sdks(running.gateway.url, key) as sdks:
        assert (
            message_ways.text_of(
                message_ways.whole(sdks, model=MODELS["anthropic"], messages=user("say:well"))
            )
            == "well"
        )
        with pytest.raises(openai.PermissionDeniedError):
            chat_ways.whole(sdks, model=MODELS["openai"], messages=user("hi"))
    running.gateway.manage("keys", "revoke", display_prefix(key))
    wait(lambda: running.status(key) == 401)


def test_a_configuration_file_takes_effect_without_a_restart(
    running: Running, fake_upstream: FakeUpstream
) -> None:
    document = (
        "routes:\n- pattern: fast\n  targets:\n  - {provider: anthropic, model: claude-opus-4-5}\n"
        "- pattern: gone-*\n  enabled: false\n  targets:\n  - {provider: openai}\n"
    )
    assert running.gateway.manage("config", "apply", "-", given=document)

    def answered() -> bool:
        reply = chat_ways.whole(running.sdks, model="sandbox", messages=user("hi"))
        assert reply.choices
        return "fast" in {model.id for model in running.sdks.openai.models.list()}

    wait(answered)
    answer = chat_ways.whole(running.sdks, model="fast", messages=user("say:well"))
    assert answer.choices[0].message.content == "well"
    assert (fake_upstream.last.path, fake_upstream.last.model) == ("/v1/messages", "claude-opus-4-5")


def test_an_edit_in_the_admin_takes_effect_without_a_restart(running: Running) -> None:
    def owner() -> str:
        return running.sdks.openai.models.retrieve("o3-mini").owned_by

    assert owner() == "openai"
    with httpx2.Client(base_url=running.gateway.url, timeout=20) as browser:
        _submit(browser, "/admin/login/", username="admin", password=running.gateway.password)
        routes = "/admin/routing/route/?q=o3-"
        row = re.search(r'name="_selected_action" value="([^"]+)"', browser.get(routes).text)
        assert row
        # Without its route the model goes where everything else goes.
        for action, expected in (("disable", "ollama"), ("enable", "openai")):
            _submit(browser, routes, action=action, _selected_action=row[1])
            wait(lambda expected=expected: owner() == expected)  # type: ignore[misc]  # bound at once


def _submit(browser: httpx2.Client, path: str, **fields: str) -> None:
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', browser.get(path).text)
    assert token
    data = {**fields, "csrfmiddlewaretoken": token[1]}
    reply = browser.post(path, data=data, headers={"referer": str(browser.base_url) + path})
    assert reply.status_code in (200, 302)
    assert "errornote" not in reply.text


# -- clients that leave, and servers that end


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_leaves_closes_the_upstream(
    running: Running, fake_upstream: FakeUpstream, kind: Kind, stream: bool
) -> None:
    fake_upstream.script("", [Answer(events=8), Stall()] if stream else [Stall()])
    client = running.sdks.openai.with_options(timeout=0.3)
    create: Any = client.chat.completions.create
    if stream:
        answer = create(model=MODELS[kind], messages=user("count:9"), stream=True, timeout=20)
        next(iter(answer))
        answer.close()
    else:
        with pytest.raises(openai.APITimeoutError):
            create(model=MODELS[kind], messages=user("hi"))
    assert fake_upstream.wait_closed(fake_upstream.wait_for()[0])
    assert fake_upstream.last.aborted
    wait(lambda: running.get("/ready", authorization=f"Bearer {KEY}").json()["in_flight"] == 1)


@pytest.mark.parametrize("server", SERVERS)
def test_an_open_stream_ends_whole_after_sigterm(server: str, fake_upstream: FakeUpstream) -> None:
    go_on = threading.Event()
    fake_upstream.script("", [Answer(events=5), WaitFor(go_on), _Rest(5)])
    values = settings(fake_upstream, LLM_GATEWAY_SERVER=server)
    with Served(None, **values) as gateway, Sdks(gateway.url, KEY) as sdks:
        with sdks.openai.chat.completions.create(
            model=MODELS["openai"], messages=user("count:9"), stream=True
        ) as stream:
            chunks = [next(stream)]
            os.kill(gateway.pid, signal.SIGTERM)
            wait(lambda: _refuses(gateway))
            go_on.set()
            chunks += list(stream)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert text == " ".join(f"word{number}" for number in range(1, 10))
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert gateway.wait() == 0


def _refuses(gateway: Served) -> bool:
    """No new connection is taken."""
    try:
        httpx2.get(gateway.url + "/health", timeout=5)
    except httpx2.TransportError:
        return True
    return False


class _Rest:
    """The provider's own stream from this event on."""

    def __init__(self, start: int) -> None:
        self._start = start

    async def run(self, stage: Any) -> None:
        for frame in stage.default().frames[self._start :]:
            await stage.raw(stage.frame(frame))


def test_several_workers_answer_the_sdks_and_hear_of_edits(fake_upstream: FakeUpstream) -> None:
    with Served(None, **settings(fake_upstream, LLM_GATEWAY_WORKERS="2")) as gateway:
        key = gateway.manage("keys", "issue", "--team", "crew").strip()

        def known() -> bool:
            # Each time a connection of its own, so that every worker is asked.
            asked = [httpx2.get(gateway.url + "/v1/models", headers={"x-api-key": key}) for _ in range(8)]
            return {reply.status_code for reply in asked} == {200}

        wait(known)
        for kind in KINDS:
            with openai.OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=0) as client:
                answer = client.chat.completions.create(model=MODELS[kind], messages=user("say:well"))
            assert answer.choices[0].message.content == "well"
        assert gateway.end() == 0


def test_metrics_are_the_sum_of_all_workers(fake_upstream: FakeUpstream) -> None:
    """Whichever worker is asked, and when one of them has died since."""
    with Served(None, **settings(fake_upstream, LLM_GATEWAY_WORKERS="2")) as gateway:
        key = gateway.manage("keys", "issue", "--team", "crew").strip()
        head = {"x-api-key": key}

        def known() -> bool:
            asked = [httpx2.get(gateway.url + "/v1/models", headers=head) for _ in range(8)]
            return {reply.status_code for reply in asked} == {200}

        def counted() -> set[float]:
            pages = [httpx2.get(gateway.url + "/metrics").text for _ in range(8)]
            return {_count(page, "gateway_requests_total", surface="chat", status="200") for page in pages}

        wait(known)
        body = {"model": "sandbox", "messages": user("hello")}
        for _ in range(24):
            reply = httpx2.post(gateway.url + "/v1/chat/completions", headers=head, json=body)
            assert reply.status_code == 200
        wait(lambda: counted() == {24.0})
        worker = psutil.Process(gateway.pid).children()[0]
        worker.kill()
        # A connection that waits for the dead one is reset when its parent leaves the port to the other.
        wait(lambda: "worker ended" in gateway.output)
        wait(lambda: counted() == {24.0})
