"""Who may come in: where a key is looked for, and what is told to whoever has none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from accounts.keys import display_prefix, issue
from apiv1.tests.wire import Header, Reply, Wire
from routing.snapshot import ApiKey, Team
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import CHAT_OPENAI, MESSAGES_OPENAI, ask, checked

MODELS = "/v1/models"


def get(live: LiveGateway, headers: list[Header], path: str = MODELS) -> Reply:
    with Wire(live) as wire:
        wire.head("GET", path, headers, key=False)
        return wire.reply("GET")


GOOD = [
    pytest.param([("authorization", "Bearer {key}")], id="bearer"),
    pytest.param([("authorization", "bearer {key}")], id="scheme-in-lower-case"),
    pytest.param([("Authorization", "BEARER   {key} ")], id="spaces"),
    pytest.param([("x-api-key", "{key}")], id="x-api-key"),
    pytest.param([("x-api-key", " {key} ")], id="x-api-key-with-spaces"),
    pytest.param([("authorization", "Bearer {key}"), ("x-api-key", "{key}")], id="both-the-same"),
    # The SDKs send an empty one where the other header was given by hand.
    pytest.param([("authorization", "Bearer "), ("x-api-key", "{key}")], id="empty-bearer-beside"),
]
BAD = [
    pytest.param([], 401, "missing_api_key", id="none"),
    pytest.param([("authorization", "")], 401, "invalid_api_key", id="empty"),
    pytest.param([("authorization", "Bearer")], 401, "missing_api_key", id="scheme-only"),
    pytest.param([("authorization", "Basic {key}")], 401, "invalid_api_key", id="basic"),
    pytest.param([("authorization", "{key}")], 401, "invalid_api_key", id="no-scheme"),
    pytest.param([("x-api-key", "sk-unknown")], 401, "invalid_api_key", id="unknown"),
    pytest.param([("x-api-key", "{key}x")], 401, "invalid_api_key", id="one-letter-more"),
    pytest.param([("x-api-key", "k" * 5000)], 401, "invalid_api_key", id="very-long"),
    pytest.param([("x-api-key", "' OR '1'='1")], 401, "invalid_api_key", id="sql"),
    pytest.param([("x-api-key", b"k\xc3\xa9y-\xff\xfe")], 401, "invalid_api_key", id="not-ascii"),
    pytest.param([("x_api_key", "{key}")], 401, "missing_api_key", id="underscores"),
    pytest.param([("cookie", "x-api-key={key}")], 401, "missing_api_key", id="cookie"),
    pytest.param(
        [("authorization", "Bearer {key}"), ("x-api-key", "other")], 400, "ambiguous_api_key",
        id="S7-two-keys",
    ),
    pytest.param(
        [("authorization", "Bearer {key}"), ("authorization", "Bearer {key}")], 400, "ambiguous_api_key",
        id="S7-authorization-twice",
    ),
    pytest.param(
        [("x-api-key", "{key}"), ("X-Api-Key", "{key}")], 400, "ambiguous_api_key", id="S7-x-api-key-twice"
    ),
]  # fmt: skip


def _filled(live: LiveGateway, headers: list[Header]) -> list[Header]:
    return [
        (name, value if isinstance(value, bytes) else value.replace("{key}", live.key))
        for name, value in headers
    ]


@pytest.mark.parametrize("headers", GOOD)
def test_a_key_is_found(live: LiveGateway, headers: list[Header]) -> None:
    assert get(live, _filled(live, headers)).status == 200


@pytest.mark.parametrize(("headers", "status", "code"), BAD)
def test_without_a_good_key_nobody_comes_in(
    live: LiveGateway, headers: list[Header], status: int, code: str
) -> None:
    given = _filled(live, headers)
    reply = get(live, given)
    assert (reply.status, checked("chat", reply.json)["code"]) == (status, code)
    assert (reply.header("www-authenticate") == "Bearer") is (status == 401)
    refusal = live.refusals[-1]
    assert (refusal.status, refusal.code, refusal.team) == (status, code, "")
    # S5: no part of what was tried comes back or is written down.
    shown = reply.body + repr(refusal).encode() + repr(reply.headers).encode()
    assert live.key.encode() not in shown
    assert not any(str(value)[:40].encode() in shown for _, value in given if len(value) > 12)
    reply = get(live, [*given, ("anthropic-version", "2023-06-01")])
    kind = "authentication_error" if status == 401 else "invalid_request_error"
    assert (reply.status, checked("messages", reply.json)["type"]) == (status, kind)


@pytest.mark.parametrize("name", ["key", "api_key", "api-key", "KEY", "access_token", "x-api-key", "%6Bey"])
@pytest.mark.parametrize("path", [MODELS, "/v1/nothing", "/health", "/v1/chat/completions"])
def test_s6_a_key_in_the_address_is_refused(live: LiveGateway, path: str, name: str) -> None:
    reply = get(live, [("x-api-key", live.key)], f"{path}?a=1&{name}={live.key}")
    assert (reply.status, checked("chat", reply.json)["code"]) == (400, "key_in_url")
    assert live.key.encode() not in reply.body


def test_a_mistyped_key_is_wrong_even_while_the_keys_are_not_known(live: LiveGateway) -> None:
    live.fresh = False
    changed = "A" if live.key[-1] != "A" else "B"
    reply = get(live, [("x-api-key", live.key[:-1] + changed)])
    assert (reply.status, checked("chat", reply.json)["code"]) == (401, "invalid_api_key")


def test_an_unknown_key_is_told_to_come_again_while_the_keys_are_not_known(live: LiveGateway) -> None:
    live.fresh = False
    for key in (issue(), "a key that somebody chose"):
        reply = get(live, [("x-api-key", key)])
        assert (reply.status, checked("chat", reply.json)["code"]) == (503, "dependency_unavailable")
        assert reply.header("retry-after") == "5"
        assert reply.header("x-should-retry") == "true"
    # Who is known is served as ever.
    assert get(live, [("x-api-key", live.key)]).status == 200


@pytest.mark.parametrize(
    ("ago", "status"), [(timedelta(days=-1), 200), (timedelta(seconds=1), 401), (timedelta(days=400), 401)]
)
def test_s8_a_key_ends_with_its_date(live: LiveGateway, ago: timedelta, status: int) -> None:
    live.use(live.snapshot(key={"expires_at": datetime.now(UTC) - ago}))
    reply = get(live, [("x-api-key", live.key)])
    assert reply.status == status
    if status == 401:
        assert checked("chat", reply.json)["code"] == "expired_api_key"


def test_s8_a_key_that_is_gone_from_the_snapshot_is_unknown(live: LiveGateway) -> None:
    live.use(live.snapshot(keys={}))
    assert get(live, [("x-api-key", live.key)]).status == 401


def test_s8_a_key_uses_the_models_it_may_and_no_other(live: LiveGateway) -> None:
    live.use(live.snapshot(key={"allowed_models": ("gpt-4o", "claude-*")}))
    assert ask(live, CHAT_OPENAI).status == 200
    answer = ask(live, CHAT_OPENAI, model="gpt-4o-mini")
    assert (answer.status, answer.error()["code"]) == (403, "model_not_allowed")
    answer = ask(live, MESSAGES_OPENAI, model="llama3.2")
    assert (answer.status, answer.error()["type"]) == (403, "permission_error")


def test_s3_keys_that_look_alike_are_not_alike(live: LiveGateway) -> None:
    """Same beginning, same end: each is its own team, and what lies between them is nobody."""
    stem, tail = "k" * 40, "z" * 20
    keys = {name: f"{stem}-{name}-{tail}" for name in ("red", "blue")}
    rows = {}
    for number, (name, key) in enumerate(keys.items()):
        digest = live.hasher.digest(key)
        rows[digest] = ApiKey(number, display_prefix(key), digest, Team(number, name))
    live.use(live.snapshot(keys=rows))
    for number, (name, key) in enumerate(keys.items(), start=1):
        assert ask(live, CHAT_OPENAI, headers={"x-api-key": key}).status == 200
        assert live.wait_record(number).team == name
    for key in (f"{stem}-grey-{tail}", stem, tail, f"{stem}-red-{tail}"[:-1]):
        assert get(live, [("x-api-key", key)]).status == 401


@pytest.mark.parametrize(
    ("headers", "record"),
    [
        ({"x-gateway-team": "admin", "x-gateway-route": "other", "x-forwarded-for": "1.2.3.4"}, "default"),
        ({"openai-organization": "org-other", "openai-project": "p", "forwarded": "for=1.2.3.4"}, "default"),
    ],
)
def test_s16_s17_headers_never_change_who_is_billed(
    live: LiveGateway, headers: dict[str, str], record: str
) -> None:
    assert ask(live, CHAT_OPENAI, headers={"x-api-key": live.key, **headers}, user="someone").status == 200
    closed = live.wait_record()
    assert (closed.team, closed.route, closed.key_prefix) == (record, "gpt-*", display_prefix(live.key))
    assert "1.2.3.4" not in repr(closed)
