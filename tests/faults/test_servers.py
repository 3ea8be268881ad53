"""C6, C16 to C18, C20 and C21: what the server itself meets, on both servers, as whole processes."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import orjson
import psutil
import pytest

from tests.support.fake_upstream import FakeUpstream
from tests.support.served import Served
from tests.support.surfaces import PROMPT, address, checked
from tests.support.upstream.script import Answer, Send, SendHead, Step

KEY = "gw-first-key-of-these-tests-0123456789"
CLIENT_STALL = 1.0
MIB = 1 << 20
_PATIENCE = 20.0
SURFACES = pytest.mark.parametrize("surface", ["chat", "messages"])
# How long the process may take to see a stall: it looks once a second.
pytestmark = pytest.mark.slow

CONFIG = """
providers:
  openai:
    api_key: sk-openai-0123456789
    base_url: {url}
    timeouts: {{client_stall: {stall}}}
  default: openai
"""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway's process, and its figures before the test."""

    served: Served
    kind: str
    fake: FakeUpstream

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the series with these labels."""
        found = 0.0
        for line in httpx2.get(self.served.url + "/metrics", timeout=_PATIENCE).text.splitlines():
            if re.match(rf"{name}[{{ ]", line) and all(f'{k}="{v}"' in line for k, v in labels.items()):
                found += float(line.rpartition(" ")[2])
        return found

    def wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + _PATIENCE
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.05)

    @property
    def rss(self) -> int:
        return int(psutil.Process(self.served.pid).memory_info().rss)

    @property
    def sockets(self) -> int:
        folder = Path("/proc") / str(self.served.pid) / "fd"
        return sum(_is_socket(entry) for entry in folder.iterdir())

    def connect(self, receive_buffer: int = 0) -> socket.socket:
        wire = socket.socket()
        if receive_buffer:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        wire.settimeout(_PATIENCE)
        wire.connect(("127.0.0.1", self.served.port))
        return wire


def _is_socket(entry: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return str(entry.readlink()).startswith("socket:")
    return False


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def running(
    request: pytest.FixtureRequest,
    fake_upstream_server: FakeUpstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gateway]:
    """One process of each server for all tests of this file; ask for `gateway` instead."""
    config = tmp_path_factory.mktemp("faults") / "config.yaml"
    config.write_text(CONFIG.format(url=fake_upstream_server.openai_url, stall=CLIENT_STALL))
    environ = {
        "LLM_GATEWAY_CONFIG": str(config),
        "LLM_GATEWAY_BOOTSTRAP_KEY": KEY,
        "LLM_GATEWAY_SERVER": request.param,
    }
    with Served(None, **environ) as served:
        yield Gateway(served, request.param, fake_upstream_server)


@pytest.fixture
def gateway(running: Gateway, fake_upstream: FakeUpstream) -> Iterator[Gateway]:
    """In front of a clean upstream; at the end nothing may be open that was not before."""
    assert httpx2.get(running.served.url + "/health", timeout=_PATIENCE).status_code == 200
    yield running
    running.wait(lambda: running.metric("gateway_in_flight") == 0)


def post(surface: str, *, stream: bool = False, path: str = "", head: str = "") -> bytes:
    """A whole request in bytes."""
    body = orjson.dumps(
        {"model": "gpt-4o", "max_tokens": 500, "stream": stream,
         "messages": [{"role": "user", "content": PROMPT}]}
    )  # fmt: skip
    lines = [
        f"POST {path or address(surface)} HTTP/1.1", "host: gateway.test", f"x-api-key: {KEY}",
        "content-type: application/json", f"content-length: {len(body)}", *([head] if head else []),
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def read_reply(wire: socket.socket, before: bytes = b"") -> tuple[int, dict[str, str], bytes, bytes]:
    """Status, headers, body of one reply with a length, and what was read beyond it."""
    data = before
    while b"\r\n\r\n" not in data:
        piece = wire.recv(65536)
        assert piece, f"no reply: {data!r}"
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    length = int(headers.get("content-length", 0))
    while len(rest) < length:
        rest += wire.recv(65536)
    return int(first.split()[1]), headers, rest[:length], rest[length:]


def is_closed(wire: socket.socket) -> bool:
    with contextlib.suppress(ConnectionError):
        while wire.recv(65536):
            pass
    return True


def flood(count: int) -> list[Step]:
    """A stream of so many events of 64 KiB."""
    text = b"a" * 65536
    event = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"' + text + b'"}}]}\n\n'
    return [SendHead(200, {"content-type": "text/event-stream"}), *[Send(event)] * count]


# -- C6


@SURFACES
def test_c06_a_reader_that_stops_is_cut_off(gateway: Gateway, surface: str) -> None:
    """Memory stays bounded, the provider is closed, and it has an error code and a count of its own."""
    aborted = {"surface": surface, "side": "client", "reason": "client_stall"}
    counted = {"surface": surface, "status": "499", "code": "client_stall"}
    before = gateway.metric("gateway_stream_aborts_total", **aborted)
    requests = gateway.metric("gateway_requests_total", **counted)
    gateway.fake.script("", flood(2000), check=False)
    rss = gateway.rss
    with gateway.connect(receive_buffer=4096) as wire:
        wire.sendall(post(surface, stream=True))
        assert wire.recv(1000).startswith(b"HTTP/1.1 200 ")
        gateway.fake.wait_for(1)
        request = gateway.fake.last
        assert gateway.fake.wait_closed(request, _PATIENCE)
        # 128 MiB were on their way: what is held of them is a few pieces, and the kernels' buffers.
        assert request.sent < 64 * MIB
        assert gateway.rss - rss < 24 * MIB
        gateway.wait(lambda: gateway.metric("gateway_stream_aborts_total", **aborted) == before + 1)
        assert gateway.metric("gateway_requests_total", **counted) == requests + 1
        # It is reset: what it has must not look like the whole.
        taken = 0
        with contextlib.suppress(ConnectionError):
            while piece := wire.recv(MIB):
                taken += len(piece)
        assert taken < 128 * MIB


def test_c06_a_listener_that_stops_is_cut_off(gateway: Gateway) -> None:
    """Sound has no place for a word about it: the connection breaks, before its length is reached."""
    aborted = {"surface": "speech", "side": "client", "reason": "client_stall"}
    before = gateway.metric("gateway_stream_aborts_total", **aborted)
    head = SendHead(200, {"content-type": "audio/pcm", "content-length": str(128 * MIB)}, "none")
    gateway.fake.script("/v1/audio/speech", [head, *[Send(bytes(MIB))] * 128], check=False)
    body = orjson.dumps({"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "hello"})
    asked = f"POST /v1/audio/speech HTTP/1.1\r\nhost: gateway.test\r\nx-api-key: {KEY}\r\n"
    asked += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    rss = gateway.rss
    with gateway.connect(receive_buffer=4096) as wire:
        wire.sendall(asked.encode() + body)
        assert wire.recv(1000).startswith(b"HTTP/1.1 200 ")
        gateway.fake.wait_for(1)
        request = gateway.fake.last
        assert gateway.fake.wait_closed(request, _PATIENCE)
        assert request.sent < 64 * MIB
        assert gateway.rss - rss < 24 * MIB
        gateway.wait(lambda: gateway.metric("gateway_stream_aborts_total", **aborted) == before + 1)
        counted = {"surface": "speech", "status": "499", "code": "client_stall"}
        assert gateway.metric("gateway_requests_total", **counted) == 1
        taken = 0
        with contextlib.suppress(ConnectionError):
            while piece := wire.recv(MIB):
                taken += len(piece)
        assert taken < 128 * MIB


@SURFACES
def test_c06_a_slow_reader_is_paced_and_gets_all(gateway: Gateway, surface: str) -> None:
    tail = [{"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]
    end = b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in tail) + b"data: [DONE]\n\n"
    gateway.fake.script("", [*flood(200), Send(end)], check=False)
    rss = gateway.rss
    taken = 0
    with gateway.connect(receive_buffer=65536) as wire:
        wire.sendall(post(surface, stream=True, head="connection: close"))
        while piece := wire.recv(131072):
            taken += len(piece)
            time.sleep(0.005)
    assert taken > 200 * 65536
    assert gateway.rss - rss < 24 * MIB


# -- C17, C18


@SURFACES
def test_c17_two_requests_in_one_write(gateway: Gateway, surface: str) -> None:
    """Both are answered, in order, and the second is not begun before the first is done."""
    gateway.fake.script("", [Answer()])
    with gateway.connect() as wire:
        wire.sendall(post("chat") + post(surface))
        status, headers, body, rest = read_reply(wire)
        other, more, second, rest = read_reply(wire, rest)
    assert (status, other, rest) == (200, 200, b"")
    assert headers["x-request-id"] != more["x-request-id"]
    assert orjson.loads(body)["object"] == "chat.completion"
    assert ("choices" if surface == "chat" else "content") in orjson.loads(second)
    first, last = gateway.fake.requests
    assert first.finished
    assert first.at < last.at


@SURFACES
@pytest.mark.parametrize(
    ("head", "status"),
    [("content-length: 99999999999", 413), ("content-length: 100\r\nx-bad: 1", 401)],
    ids=["too-large", "bad-key"],
)
def test_c18_nobody_is_asked_to_go_on_who_will_be_refused(
    gateway: Gateway, surface: str, head: str, status: int
) -> None:
    key = KEY if status == 413 else "wrong"
    lines = [
        f"POST {address(surface)} HTTP/1.1",
        "host: a",
        "expect: 100-continue",
        f"x-api-key: {key}",
        head,
    ]
    request = "\r\n".join(lines) + "\r\n\r\n"
    with gateway.connect() as wire:
        wire.sendall(request.encode())
        told, _, body, _ = read_reply(wire)
        assert told == status
        assert checked(surface, orjson.loads(body))["message"]
        assert is_closed(wire)
    assert gateway.fake.requests == []


# -- C16, C20, C21

SMUGGLED = b"GET /v1/models HTTP/1.1\r\nhost: a\r\nx-api-key: " + KEY.encode() + b"\r\n\r\n"
AMBIGUOUS = {
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "whole-url": b"GET http://other.test/v1/models HTTP/1.1\r\nhost: a\r\n\r\n",
    "length-twice": b"POST /v1/messages HTTP/1.1\r\nhost: a\r\n"
    b"content-length: 0\r\ncontent-length: 9\r\n\r\n",
    "length-and-chunks": b"POST /v1/messages HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n"
    b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "space-before-colon": b"GET /v1/models HTTP/1.1\r\nhost: a\r\nx-a : b\r\n\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_c20_what_two_servers_could_read_in_two_ways(gateway: Gateway, name: str) -> None:
    before = gateway.metric("gateway_bad_http_total", code="malformed_request")
    with gateway.connect() as wire:
        wire.sendall(AMBIGUOUS[name] + SMUGGLED)
        status, headers, body, rest = read_reply(wire)
        assert (status, headers["connection"], rest) == (400, "close", b"")
        assert orjson.loads(body)["request_id"] == headers["x-request-id"]
        assert is_closed(wire), "nothing that follows is read"
    assert gateway.metric("gateway_bad_http_total", code="malformed_request") == before + 1
    assert gateway.fake.requests == []


@SURFACES
def test_c21_a_websocket_at_an_address_of_the_api(gateway: Gateway, surface: str) -> None:
    request = (
        f"GET {address(surface)} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n"
        f"x-canary: reflected\r\nx-api-key: {KEY}\r\n\r\n"
    )
    with gateway.connect() as wire:
        wire.sendall(request.encode())
        status, _, body, _ = read_reply(wire)
    assert status == 400
    assert checked(surface, orjson.loads(body))["message"]
    assert b"reflected" not in body


def test_c16_many_slow_clients_hold_up_nobody(gateway: Gateway) -> None:
    """Two hundred that never finish a head or a body, while good calls are answered."""
    begun = [b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nx-sl", post("chat")[:-20]]
    slow = [gateway.connect() for _ in range(200)]
    try:
        for number, wire in enumerate(slow):
            wire.sendall(begun[number % 2])
        for surface in ("chat", "messages") * 5:
            with gateway.connect() as wire:
                wire.sendall(post(surface))
                assert read_reply(wire)[0] == 200
    finally:
        for wire in slow:
            wire.close()
    before = gateway.sockets
    gateway.wait(lambda: gateway.sockets <= before)
