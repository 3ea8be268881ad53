"""In a server as it runs: the page knows the state of this moment, and the command says that it does not."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

import httpx
import pytest

from accounts.keys import display_prefix
from tests.support.served import Served

_PATIENCE = 30.0
_LIMITS = "teams: [{name: crew, limits: [{kind: requests, amount: 100000, per: day}]}]\n"

_CACHED = "routes: [{pattern: sandbox, cache: {mode: exact}}]\n"


def until(ask: Callable[[], httpx.Response], holds: Callable[[httpx.Response], bool]) -> httpx.Response:
    """Ask until it holds."""
    end = time.monotonic() + _PATIENCE
    while not holds(reply := ask()):
        assert time.monotonic() < end, reply.text
        time.sleep(0.02)
    return reply


def log_in(client: httpx.Client, password: str) -> None:
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', client.get("/admin/login/").text)
    assert found is not None
    form = {"username": "admin", "password": password, "csrfmiddlewaretoken": found[1]}
    assert client.post("/admin/login/", data=form).status_code == 302


@pytest.mark.slow
def test_the_server_knows_its_own_state_and_a_command_does_not() -> None:
    with Served() as served, httpx.Client(base_url=served.url, timeout=30) as client:
        key = served.manage("keys", "issue", "--team", "crew").strip()
        served.manage("config", "apply", "-", given=_LIMITS)
        log_in(client, served.password)
        body = {"model": "sandbox", "messages": [{"role": "user", "content": "Hello"}]}
        bearer = {"authorization": f"Bearer {key}"}
        reply = until(
            lambda: client.post("/v1/chat/completions", json=body, headers=bearer),
            lambda reply: "x-ratelimit-remaining-requests" in reply.headers,
        )
        asked = {"model": "sandbox", "key": display_prefix(key)}
        told = client.get("/admin/explain.json", params=asked).json()
        assert told["live"]
        assert [str(each["left"]) for each in told["limits"]] == [
            reply.headers["x-ratelimit-remaining-requests"]
        ]
        assert told["targets"][0]["in_flight"] == 0
        asked = {"request": reply.headers["x-request-id"]}
        # A row is carried into the ledger in batches.
        past = until(
            lambda: client.get("/admin/explain.json", params=asked), lambda reply: reply.status_code == 200
        )
        assert past.json()["outcome"].startswith("It goes to sandbox/")
        # What the cache would do, as the server that has it knows.
        served.manage("config", "apply", "-", given=_CACHED)
        question = {"key": display_prefix(key), "body": json.dumps(body)}
        question["csrfmiddlewaretoken"] = client.cookies["gateway_csrf"]
        ahead = until(
            lambda: client.post("/admin/explain.json", data=question),
            lambda reply: reply.json()["cache"]["state"] != "off",
        )
        assert ahead.json()["cache"]["state"] == "miss"
        client.post("/v1/chat/completions", json=body, headers=bearer)
        hit = until(
            lambda: client.post("/admin/explain.json", data=question),
            lambda reply: reply.json()["cache"]["state"] == "hit",
        )
        assert hit.json()["outcome"].startswith("It is answered from the cache: kept")
        beside = json.loads(served.manage("explain", "--model", "sandbox", "--key", key, "--json"))
    assert not beside["live"]
    assert [each["left"] for each in beside["limits"]] == [None]
    assert beside["outcome"] == told["outcome"]
