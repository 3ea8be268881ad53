"""Whole gateways, as processes, in front of the fake upstream: how fault tests set them up and speak with
them."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import orjson
import psutil

from tests.support.fake_upstream import FakeUpstream
from tests.support.served import Served
from tests.support.surfaces import CHAT_OPENAI, MESSAGES_OPENAI, Pair, address, parse_events, request_body

KEY = "gw-first-key-of-these-tests-0123456789"
NOBODY = "gw-a-key-that-nobody-has-ever-issued-01"
SERVERS = ("daphne", "uvicorn")
SURFACES = (CHAT_OPENAI, MESSAGES_OPENAI)
# Far over what anything here takes: beyond it something hangs.
PATIENCE = 60.0
HOOKS = Path(__file__).parent / "hooks"
# The ends of a good stream, and of one that the gateway broke off.
_GOOD = {"chat": b"data: [DONE]\n\n", "messages": b'"message_stop"'}


def until(condition: Callable[[], bool], what: str = "it") -> None:
    """Wait until `condition` holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.02)


def values(fake: FakeUpstream, **more: str) -> dict[str, str]:
    """The environment of a gateway whose providers are the fake."""
    return {
        "OPENAI_API_KEY": "sk-openai-0123456789",
        "LLM_GATEWAY_PROVIDERS_OPENAI_BASE_URL": fake.openai_url,
        "LLM_GATEWAY_PROVIDERS_OLLAMA_BASE_URL": fake.url,
        "LLM_GATEWAY_PROVIDERS_DEFAULT": "ollama",
        "LLM_GATEWAY_BOOTSTRAP_KEY": KEY,
        **more,
    }


class House(Served):
    """A gateway's processes. Each request has a connection of its own, so that every worker is met."""

    def ask(self, pair: Pair = CHAT_OPENAI, key: str = KEY, *, stream: bool = False, **fields: Any) -> Any:
        """The reply to a call, read to its end."""
        body = orjson.dumps(request_body(pair, stream=stream, **fields))
        headers = {"x-api-key": key, "content-type": "application/json"}
        return httpx.post(self.url + address(pair.surface), content=body, headers=headers, timeout=PATIENCE)

    def get(self, path: str, key: str = "") -> httpx.Response:
        return httpx.get(self.url + path, headers={"x-api-key": key} if key else {}, timeout=PATIENCE)

    def ready(self) -> tuple[int, str]:
        """The status of /ready, and its reason."""
        reply = self.get("/ready")
        return reply.status_code, reply.json().get("reason", "")

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get("/ready", KEY).json()
        return found

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels; 0 where there is none."""
        lines = self.get("/metrics").text.splitlines()
        fitting = [line for line in lines if re.match(re.escape(name) + r"[ {]", line)]
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(float(line.rpartition(" ")[2]) for line in fitting if all(w in line for w in wanted))

    def apply(self, document: str) -> None:
        """Bring this configuration into force."""
        before = self.report()["revision"]
        said = self.manage("config", "apply", "-", given=document)
        if "No changes" not in said:
            # Each is asked of whichever worker takes the connection.
            until(
                lambda: all(self.report()["revision"] > before for _ in range(12)),
                "the configuration is in force",
            )

    def refuses(self) -> bool:
        """No new connection is taken."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE).close()
        except OSError:
            return True
        return False

    def workers(self) -> list[psutil.Process]:
        """The worker processes that listen."""
        return [each for each in psutil.Process(self.pid).children() if _listens(each, self.port)]

    def flow(self, pair: Pair = CHAT_OPENAI, key: str = KEY) -> Flow:
        """A stream that has begun."""
        return Flow(self, pair, key)


class Flow:
    """One open stream, read as it comes."""

    def __init__(self, house: House, pair: Pair, key: str) -> None:
        self.pair = pair
        self.data = b""
        self._socket = socket.create_connection(("127.0.0.1", house.port), timeout=PATIENCE)
        body = orjson.dumps(request_body(pair, stream=True))
        head = (
            f"POST {address(pair.surface)} HTTP/1.1\r\nhost: gateway.test\r\nx-api-key: {key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self._socket.sendall(head.encode() + body)

    @property
    def local_port(self) -> int:
        return int(self._socket.getsockname()[1])

    def until(self, mark: bytes) -> Self:
        """Read until this has come."""
        while mark not in self.data:
            piece = self._socket.recv(65536)
            assert piece, f"the stream ended before {mark!r}: {self.data!r}"
            self.data += piece
        return self

    def rest(self) -> bytes:
        """Read to the end, of the reply or of the connection; what came, with its HTTP framing."""
        while not self.data.endswith(b"\r\n0\r\n\r\n"):
            try:
                piece = self._socket.recv(65536)
            except ConnectionResetError:
                break
            if not piece:
                break
            self.data += piece
        return self.data

    @property
    def whole(self) -> bool:
        """It has come to its good end."""
        return _GOOD[self.pair.surface] in self.data and self.data.endswith(b"\r\n0\r\n\r\n")

    @property
    def error(self) -> dict[str, Any]:
        """The error with which the stream ended, in its surface's form."""
        body = b"".join(_dechunked(self.data.partition(b"\r\n\r\n")[2]))
        name, last = parse_events(body)[-1]
        assert name == ("error" if self.pair.surface == "messages" else "")
        return dict(last["error"])

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


class Rest:
    """A step of the fake: the provider's own stream from this event on."""

    def __init__(self, start: int) -> None:
        self._start = start

    async def run(self, stage: Any) -> None:
        for frame in stage.default().frames[self._start :]:
            await stage.raw(stage.frame(frame))


@contextmanager
def flows(house: House, count: int, mark: bytes = b"rd2") -> Iterator[list[Flow]]:
    """So many open streams, on both surfaces in turn, each of which has said something."""
    opened = [house.flow(SURFACES[number % 2]) for number in range(count)]
    try:
        for each in opened:
            each.until(mark)
        yield opened
    finally:
        for each in opened:
            each.close()


def owner(house: House, flow: Flow) -> int:
    """The worker that has this stream's connection."""
    for process in house.workers():
        if any(getattr(c.raddr, "port", 0) == flow.local_port for c in process.net_connections()):
            return process.pid
    raise AssertionError("nobody has the connection")


def _listens(process: psutil.Process, port: int) -> bool:
    try:
        return any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in process.net_connections())
    except psutil.Error:
        return False


def _dechunked(data: bytes) -> Iterator[bytes]:
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        yield data[:length]
        data = data[length + 2 :]
