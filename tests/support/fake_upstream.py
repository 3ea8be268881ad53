r"""A scripted fake of OpenAI, Anthropic and Ollama on one loopback port, told apart by path.

It refuses what the real provider would refuse (status, envelope and wording are the provider's), records
all that it is sent, answers deterministically, and can be told byte by byte what to write instead.

    fake = FakeUpstream()
    fake.start()                                  # a thread and an event loop of its own
    fake.openai_url, fake.anthropic_url, fake.url # base URLs as the SDKs want them; Ollama's is the plain one

What it answers is decided by the last user message: see `tests.support.upstream.mind` (echo, ``call:NAME
{json}``, ``say:``, ``count:N``, …). Keys that begin with ``gw-`` or ``bad`` are refused: a gateway's own
key must not arrive here.

Records: `fake.requests` (a list of `Received`), `fake.last`, `fake.wait_for(count)`,
`fake.wait_closed(request)`; `fake.failures` holds tracebacks of the fake's own faults (the fixture fails on
them); `fake.reset()` forgets everything and drops answers that are still under way.

Scripts: `fake.script(match, steps)`. `match` is a part of a path ("/v1/messages"), a `Match`, or "" for
all. The first script added that fits and is not used up answers; without one, the default does. `times`
limits how often it serves, so one-off faults are `times=1`. A request that breaks a rule is refused even
then, unless `check=False`.

    fake.script("/v1/chat/completions", [Json(503, {"error": {"message": "busy"}})], times=1)
    fake.script(Match(model="gpt-4o"), [Wait(0.5), Answer()])            # slow first byte
    fake.script("/v1/", [Answer(events=3), Reset()])                     # RST in the middle of a stream
    fake.script("/v1/", [Answer(events=3), Stall()])                     # silence until the client leaves
    fake.script("/api/chat", [SendHead(200, {"content-length": "90"}, "none"), Send(b'{"mod'), Close()])
    fake.script(Match(turn=2), [Reset()])                                # a stale keep-alive connection
    fake.script("", [Sse([{"choices": []}, "[DONE]"]), Send(b"data: more\n\n")])

Steps run in order; after the last one the body is ended as its framing asks, and the connection is kept if
the client wants that. `steps` may also be a function of the request. All steps are in
`tests.support.upstream.script`.

Run alone, for a gateway started by hand: ``python -m tests.support.fake_upstream --port N``.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.support.upstream.memory import Memory
from tests.support.upstream.providers import default_reply
from tests.support.upstream.script import Answer, EndOfScriptError, Reply, Stage, Step
from tests.support.upstream.wire import Connection, Received

Steps = Sequence[Step] | Callable[[Received], Sequence[Step]]
_PATIENCE = 5.0  # seconds that the waits of tests last at most, far over what a loopback needs


@dataclass(frozen=True, slots=True)
class Match:
    """Which requests a script answers; all given conditions must hold.

    `path`: part of the path; `model`: the body's model; `nth`: only the nth request (from 1) of those that
    fit the rest; `turn`: only the nth request on its connection; `where`: any other condition.
    """

    path: str = ""
    model: str = ""
    nth: int = 0
    turn: int = 0
    where: Callable[[Received], bool] | None = None

    def fits(self, request: Received) -> bool:
        """All conditions but `nth`."""
        return (
            self.path in request.path
            and self.model in ("", request.model)
            and self.turn in (0, request.turn)
            and (self.where is None or self.where(request))
        )


@dataclass(slots=True)
class Script:
    """A script in place. `seen` counts the requests that fitted, `used` those that it answered."""

    match: Match
    steps: Steps
    times: int | None = None
    check: bool = True
    seen: int = 0
    used: int = 0

    def takes(self, request: Received) -> bool:
        if not self.match.fits(request) or self.used == self.times:
            return False
        self.seen += 1
        if self.match.nth not in (0, self.seen):
            return False
        self.used += 1
        return True


class FakeUpstream:
    """The server and what it knows. Its methods may be called from any thread; `requests` grows while it
    runs."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.memory = Memory()
        self.requests: list[Received] = []
        self.failures: list[str] = []
        self.port = 0
        self._tls = tls
        self._scripts: list[Script] = []
        self._connections: set[Connection] = set()
        self._opened = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._log: Callable[[Received], None] | None = None

    # -- addresses

    @property
    def url(self) -> str:
        """The plain base URL: what Ollama's and Anthropic's clients want."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def openai_url(self) -> str:
        return self.url + "/v1"

    @property
    def anthropic_url(self) -> str:
        return self.url

    def named(self, name: str) -> str:
        """A base URL under a prefix of its own, to play several upstreams: match it with
        `Match(path="/NAME/")`."""
        return f"{self.url}/{name}"

    # -- life

    def start(self, port: int = 0) -> FakeUpstream:
        """Listen on 127.0.0.1, on a free port unless told which, in a thread of its own."""
        ready = threading.Event()
        failure: list[OSError] = []

        def run() -> None:
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                self._stop = asyncio.Event()
                try:
                    runner.run(self._serve(port, ready, self._stop))
                except OSError as error:
                    failure.append(error)
                    ready.set()

        self._thread = threading.Thread(target=run, name="fake-upstream", daemon=True)
        self._thread.start()
        ready.wait()
        if failure:
            raise failure[0]
        return self

    async def _serve(self, port: int, ready: threading.Event, stop: asyncio.Event) -> None:
        server = await asyncio.get_running_loop().create_server(
            self._connect, "127.0.0.1", port, ssl=self._tls, backlog=2048
        )
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()
        for connection in list(self._connections):
            connection.reset()

    def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._loop and self._stop and self._thread and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def reset(self) -> None:
        """Forget requests, scripts and memory; drop the answers under way, keep idle connections."""
        done = threading.Event()

        def clear() -> None:
            for connection in list(self._connections):
                if connection.busy:
                    connection.reset()
            self._scripts.clear()
            self.requests.clear()
            self.failures.clear()
            self.memory = Memory()
            done.set()

        if self._loop is not None:
            self._loop.call_soon_threadsafe(clear)
            done.wait()

    # -- scripts and records

    def script(
        self, match: Match | str, steps: Steps, *, times: int | None = None, check: bool = True
    ) -> Script:
        """Answer the requests that `match` by `steps`; see the module's docstring."""
        script = Script(Match(path=match) if isinstance(match, str) else match, steps, times, check)
        self._scripts.append(script)
        return script

    @property
    def last(self) -> Received:
        """The latest request. AssertionError: there was none."""
        assert self.requests, "the upstream was not called"
        return self.requests[-1]

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    def wait_for(self, count: int = 1, timeout: float = _PATIENCE) -> list[Received]:
        """Wait until `count` requests have arrived, in seconds. AssertionError: they did not."""
        assert _until(lambda: len(self.requests) >= count, timeout), (
            f"{len(self.requests)} of {count} requests came"
        )
        return self.requests

    def wait_closed(self, request: Received, timeout: float = _PATIENCE) -> bool:
        """Wait until the client has closed the request's connection; False: it did not within `timeout`
        seconds."""
        return _until(lambda: request.closed_at is not None, timeout)

    def wait_finished(self, request: Received, timeout: float = _PATIENCE) -> bool:
        """Wait until the whole answer was written; False: it was not within `timeout` seconds."""
        return _until(lambda: request.finished, timeout)

    # -- answering, in the server's own loop

    def _connect(self) -> Connection:
        self._opened += 1
        connection = Connection(self._opened, self._answer, self._forget)
        self._connections.add(connection)
        return connection

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if connection.failed is not None:
            self.failures.append(connection.failed)

    async def _answer(self, connection: Connection, request: Received) -> bool:
        request.number = len(self.requests) + 1
        default = _Default(request, self.memory)
        script = next((one for one in list(self._scripts) if one.takes(request)), None)
        steps: Sequence[Step] = (Answer(),)
        if script is not None:
            if script.check:
                default()
            if request.refusal is None:
                steps = script.steps(request) if callable(script.steps) else script.steps
        self.requests.append(request)
        stage = Stage(connection, request, default)
        try:
            for step in steps:
                await step.run(stage)
            return await stage.finish()
        except EndOfScriptError:
            request.finished = True
            return False
        finally:
            if self._log is not None:
                self._log(request)


class _Default:
    """The provider's own answer, made once and only when it is wanted."""

    def __init__(self, request: Received, memory: Memory) -> None:
        self._request = request
        self._memory = memory
        self._reply: Reply | None = None

    def __call__(self) -> Reply:
        if self._reply is None:
            self._reply = default_reply(self._request, self._memory)
        return self._reply


def _until(condition: Callable[[], bool], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def _write_line(request: Received) -> None:
    said = f"refused: {request.refusal}" if request.refusal else "ok"
    sys.stdout.write(f"{request.method} {request.path} {request.model or '-'} {request.status} {said}\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until interrupted, with one line of output per request."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)")
    fake = FakeUpstream()
    fake._log = _write_line
    fake.start(parser.parse_args().port)
    sys.stdout.write(f"{fake.url}\n")
    sys.stdout.flush()
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        fake.stop()


if __name__ == "__main__":
    main()
