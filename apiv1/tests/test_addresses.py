"""Which addresses and methods there are, what they say to wrong ones, and that none works without a key."""

from __future__ import annotations

import orjson
import pytest
from django.urls import URLPattern

from apiv1.base import GatewayView
from apiv1.tests.wire import Reply, Wire
from apiv1.urls import EXACT, PREFIXES, urlpatterns
from apiv1.views import Unknown
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import CHAT_OPENAI, checked, request_body

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]
PUBLIC = {"/health", "/ready"}
ADDRESSES = [*EXACT, *(prefix + "some/thing" for prefix in PREFIXES)]
READS = [path for path in EXACT if hasattr(EXACT[path], "get")]
GOOD = orjson.dumps(request_body(CHAT_OPENAI))


def view_of(path: str) -> type[GatewayView]:
    """What the door calls for this address."""
    return EXACT.get(path) or next(view for prefix, view in PREFIXES.items() if path.startswith(prefix))


def request(live: LiveGateway, method: str, path: str, *, key: bool = True) -> Reply:
    with Wire(live) as wire:
        wire.head(method, path, key=key)
        return wire.reply(method)


def test_django_and_the_door_have_the_same_addresses() -> None:
    """So that what is walked here is what there is, whichever way a request comes in."""
    for pattern in urlpatterns:
        assert isinstance(pattern, URLPattern)
    for address in ADDRESSES:
        views = [p.callback for p in urlpatterns if p.resolve(address[1:])]
        by_door = EXACT.get(address) or next(
            v for prefix, v in PREFIXES.items() if address.startswith(prefix)
        )
        assert getattr(views[0], "view_class", None) is by_door
    assert len(urlpatterns) == len(EXACT) + len(PREFIXES)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", ADDRESSES)
def test_s10_nothing_works_without_a_key(
    live: LiveGateway, fake_upstream: FakeUpstream, path: str, method: str
) -> None:
    reply = request(live, method, path, key=False)
    if path in PUBLIC:
        assert reply.status in (200, 405)
    else:
        assert reply.status in (401, 403, 404)
    assert fake_upstream.requests == []


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", ADDRESSES)
def test_c19_a_wrong_method_is_told_the_right_ones(live: LiveGateway, path: str, method: str) -> None:
    reply = request(live, method, path)
    view = view_of(path)
    if issubclass(view, Unknown):
        assert reply.status == 404
        return
    verbs = [verb.upper() for verb in ("get", "post", "delete") if hasattr(view, verb)]
    offered = ["HEAD", *verbs] if "GET" in verbs else verbs
    if method in offered:
        # Without a body, or of what is not there.
        assert reply.status in (200, 400, 404, 415)
        return
    assert reply.status == 405
    assert (reply.header("allow") or "").split(", ") == offered
    assert "access-control-allow-origin" not in dict(reply.headers)
    if method != "HEAD":
        checked("messages" if view.family == "anthropic" else "chat", reply.json)


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("path", [*READS, "/v1/models/gpt-4o"])
def test_c19_head_is_get_without_the_body(live: LiveGateway, path: str) -> None:
    live.use(live.snapshot([live.route("gpt-4o", live.provider("openai"))]))
    got, headed = request(live, "GET", path), request(live, "HEAD", path)
    assert got.status == headed.status == 200
    assert headed.body == b""
    ours = {"content-type", "content-length", "cache-control", "x-content-type-options"}
    assert {pair for pair in got.headers if pair[0] in ours} == {p for p in headed.headers if p[0] in ours}


@pytest.mark.parametrize(
    "path",
    ["/v1/", "/v1/nothing", "/v1/v1/chat/completions", "/v1/chat/completions/", "/v1//models",
     "/v1/%2e%2e/health", "/v1/..%2f..%2fadmin/", "/v1/%c3%a9%ff", "/v1/" + "a" * 5000],
)  # fmt: skip
def test_an_unknown_address_is_a_404_in_json(live: LiveGateway, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        reply = request(live, method, path)
        assert reply.status == 404
        error = checked("chat", reply.json)
        assert len(error["message"]) < 500
        assert ("twice" in error["message"]) == path.startswith("/v1/v1/")


def test_an_unknown_address_beside_messages_speaks_anthropics_dialect(live: LiveGateway) -> None:
    reply = request(live, "POST", "/v1/messages/batches")
    assert reply.status == 404
    assert checked("messages", reply.json)["type"] == "not_found_error"


def test_health_asks_nothing_and_nobody(live: LiveGateway) -> None:
    live.fresh = False
    live.use(live.snapshot([]))
    reply = request(live, "GET", "/health", key=False)
    assert (reply.status, reply.json) == (200, {"status": "ok"})


@pytest.mark.parametrize("key", ["none", "wrong", "good"])
def test_s43_ready_gives_details_only_to_who_has_a_key(live: LiveGateway, key: str) -> None:
    headers = {"none": [], "wrong": [("x-api-key", "wrong")], "good": [("x-api-key", live.key)]}[key]
    with Wire(live) as wire:
        wire.head("GET", "/ready", headers, key=False)
        reply = wire.reply("GET")
    assert reply.status == 200
    assert reply.json == (
        {"ready": True, "degraded": False, **({"detail": "for key holders"} if key == "good" else {})}
    )


HOSTS = [
    ([("host", "gateway.test")], 200),
    ([("host", "gateway.test:8080")], 200),
    ([("host", "[::1]:8080")], 200),
    ([("host", "127.0.0.1")], 200),
    ([("host", "localhost/#@x")], 400),
    ([("host", "a.test"), ("host", "b.test")], 400),
    ([("host", "a.test"), ("host", "a.test")], 400),
    ([("host", "a test")], 400),
    ([("host", "user@a.test")], 400),
    ([("host", "a.test:port")], 400),
    ([], 400),
]


@pytest.mark.parametrize(("hosts", "status"), HOSTS, ids=str)
@pytest.mark.parametrize("path", ["/v1/models", "/health"])
def test_s11_an_odd_host_is_refused(
    live: LiveGateway, path: str, hosts: list[tuple[str, str]], status: int
) -> None:
    with Wire(live) as wire:
        wire.head("GET", path, hosts, host=False)
        assert wire.reply("GET").status == status


def test_s11_http_1_0_needs_no_host(live: LiveGateway) -> None:
    """Load balancers ask for /health like that."""
    with Wire(live) as wire:
        wire.head("GET", "/health", host=False, version="1.0")
        assert wire.reply("GET").status == 200


@pytest.mark.parametrize(
    "header",
    ["x-forwarded-host", "x-original-url", "x-rewrite-url", "x-forwarded-prefix", "daphne-root-path"],
)
def test_s11_no_header_changes_where_a_request_goes(live: LiveGateway, header: str) -> None:
    with Wire(live) as wire:
        wire.head("GET", "/v1/nothing", [(header, "/health")])
        assert wire.reply("GET").status == 404


@pytest.mark.parametrize("name", ["content_type", "anthropic_version", "content_encoding"])
def test_s18_a_header_with_underscores_is_nobody(live: LiveGateway, name: str) -> None:
    with Wire(live) as wire:
        wire.post("/v1/chat/completions", GOOD, [(name, "gzip")])
        assert wire.reply().status == 200
        wire.head("GET", "/v1/models", [(name, "2023-06-01")])
        assert wire.reply("GET").json["object"] == "list"


def test_c17_pipelined_requests_are_answered_in_order(live: LiveGateway, fake_upstream: FakeUpstream) -> None:
    with Wire(live) as wire:
        for number in range(5):
            body = request_body(CHAT_OPENAI) | {
                "messages": [{"role": "user", "content": f"say:answer {number}"}]
            }
            wire.post("/v1/chat/completions", orjson.dumps(body))
        wire.head("GET", "/v1/models")
        for number in range(5):
            assert wire.reply().json["choices"][0]["message"]["content"] == f"answer {number}"
        assert wire.reply("GET").json["object"] == "list"
    # None was begun before the one in front of it was over.
    assert [r.json["messages"][0]["content"] for r in fake_upstream.requests] == [
        f"say:answer {number}" for number in range(5)
    ]
