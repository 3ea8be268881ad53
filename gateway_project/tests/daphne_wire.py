"""The tests' side of the wire: a server process, and a client that sends any bytes and reads strictly."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any, Self

import psutil

# No test waits longer than this for anything: beyond it, something hangs.
PATIENCE = 15.0


class Served:
    """A server process. `said` reads the lines that it has written, to its end when it has ended."""

    def __init__(self, process: subprocess.Popen[str], port: int, log: IO[str]) -> None:
        self.process = process
        self.port = port
        self._log = log

    @property
    def rss(self) -> int:
        """Resident memory in bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def said(self) -> tuple[list[str], str]:
        """Wait for the process's end: its standard output's lines, and its log."""
        assert self.process.stdout is not None
        lines = self.process.stdout.read().splitlines()
        self.process.wait(PATIENCE)
        self._log.seek(0)
        return lines, self._log.read()


@contextmanager
def serving(**options: Any) -> Iterator[Served]:
    """A server with these options; ended hard if it has not ended."""
    command = [sys.executable, "-m", "gateway_project.tests.daphne_app", json.dumps(options)]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            if not options.get("fails_to_start"):
                assert process.stdout.readline() == "started\n"
                _wait_for(port)
            yield Served(process, port, log)
        finally:
            process.kill()


def _wait_for(port: int) -> None:
    """It starts first and listens then."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < end
            time.sleep(0.02)
        else:
            return


@dataclass
class Answer:
    """A reply; `head` is its first part as it came."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    head: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> str | None:
        """The header's only value. Two of a name are an error."""
        values = [value for known, value in self.headers if known == name]
        assert len(values) < 2
        return values[0] if values else None

    @property
    def error(self) -> dict[str, Any]:
        """The error in its envelope."""
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error


class BrokenReplyError(Exception):
    """The reply has no proper end."""


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, served: Served) -> Self:
        """Connect."""
        return cls(*await asyncio.open_connection("127.0.0.1", served.port))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    def send(self, *parts: bytes) -> None:
        """Send these bytes, whatever they are."""
        self.writer.write(b"".join(parts))

    def get(self, path: str, *headers: str, method: str = "GET") -> None:
        """Send a plain request."""
        lines = [f"{method} {path} HTTP/1.1", "Host: gateway.test", *headers]
        self.send("".join(f"{line}\r\n" for line in lines).encode("latin-1"), b"\r\n")

    async def answer(self, *, to_head: bool = False) -> Answer:
        """Read one reply to its end, as its head says. BrokenReplyError when it ends otherwise."""
        async with asyncio.timeout(PATIENCE):
            answer = await self.head()
            answer.body = await self._body(answer, to_head=to_head)
            return answer

    async def head(self) -> Answer:
        """Read a reply's head."""
        try:
            async with asyncio.timeout(PATIENCE):
                raw = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise BrokenReplyError("no reply") from error
        first, *lines = raw[:-4].decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        headers = []
        for line in lines:
            name, _, value = line.partition(": ")
            headers.append((name.lower(), value))
        return Answer(int(status), headers, head=raw)

    async def ends(self) -> bytes:
        """What still comes, up to the connection's end."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def _body(self, answer: Answer, *, to_head: bool) -> bytes:
        if to_head or answer.status in (204, 304) or answer.status < 200:
            return b""
        try:
            length = answer.header("content-length")
            if answer.header("transfer-encoding") == "chunked":
                assert length is None
                return await self.chunks()
            if length is not None:
                return await self.reader.readexactly(int(length))
            return await self.reader.read()
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise BrokenReplyError("the body has no end") from error

    async def chunks(self) -> bytes:
        """A body in chunks, to its end. BrokenReplyError when there is none."""
        body = bytearray()
        try:
            while True:
                size = int(await self.reader.readuntil(b"\r\n"), 16)
                body += await self.reader.readexactly(size)
                assert await self.reader.readexactly(2) == b"\r\n"
                if size == 0:
                    return bytes(body)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise BrokenReplyError("the chunks have no end") from error


async def ask(served: Served, path: str, *headers: str, method: str = "GET") -> Answer:
    """One request on a connection of its own."""
    async with await Wire.open(served) as wire:
        wire.get(path, *headers, method=method)
        return await wire.answer(to_head=method == "HEAD")


async def events(served: Served) -> list[str]:
    """What the application has seen."""
    known: list[str] = json.loads((await ask(served, "/events")).body)
    return known


async def until(served: Served, event: str) -> None:
    """Wait until the application has seen this."""

    async def seen() -> bool:
        return event in await events(served)

    await eventually(seen)


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(PATIENCE):
        while not await check():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.05)
