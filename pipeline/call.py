"""A call and its reply: what every stage of the pipeline is handed, and what it hands back."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from msgspec import Struct, field

from dialects.errors import GatewayError
from dialects.form import Form
from dialects.types import Dialect, Facts, JsonObject, Usage
from pipeline.tracing import Hop, Trace
from providers.wire import USUAL_TIMEOUTS, Closed, Timeouts, Upload
from routing.ownership import FIRST_PAGE, Kind, Page
from routing.snapshot import ApiKey, Credential, Integrity, Losses, Price, Route, Snapshot, Target

# How a call ended: `ok`, a client that left, or an error (in the reply or within its stream).
Outcome = Literal["ok", "client_gone", "error"]


class Deadline(Struct, frozen=True, gc=False):
    """A point on the monotonic clock by which the call must be over."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.at - time.monotonic())

    def sooner(self, seconds: float) -> Deadline:
        """This one, or `seconds` from now where that comes first."""
        return Deadline(min(self.at, time.monotonic() + seconds))


# Until a target is chosen, whose provider says how long a call may take.
OPEN_END = Deadline(math.inf)


class Attempt(Struct, gc=False):
    """One try at one target. Times in seconds on the monotonic clock.

    `outcome`: "ok", a reason or code of failure, "client_gone", "given_up" (another call for the same
    request failed); `fault` names the failure's row in the catalogue of errors, "" for none. `reason`: why
    it was tried: "first", "retry", "after outage", ... `credential`: the label of the secret that was used,
    `credential_id` its row's number.
    `worked`: the provider has worked on it and may bill it, although its answer could not be used. `hop`: its
    span, None where there is no trace.
    """

    provider: str
    upstream_model: str
    started: float
    outcome: str = "pending"
    fault: str = ""
    reason: str = "first"
    credential: str = ""
    credential_id: int | None = None
    status: int | None = None
    upstream_request_id: str | None = None
    seconds: float = 0.0
    worked: bool = False
    hop: Hop | None = None


class Charge(Struct, gc=False):
    """What is set aside for a call that was let in, and for whom. `at`: when, in seconds since the epoch, by
    the clock that limits and budgets are counted by. `cost`: nano-dollars; None: no price is known."""

    at: float
    team_id: int
    key_id: int
    input_tokens: int = 0
    output_tokens: int = 0
    cost: int | None = None


class Record(Struct):
    """Everything that is known of a call when it closes: the only source of metrics, log line and ledger.

    Times are on the monotonic clock; 0.0 means: did not happen. No prompt, completion or secret is in it.
    `upstream_seconds` is the time spent waiting for a provider; the rest is the gateway's own. `losses` is
    what the route does with `dropped`, the client's fields that could not travel: under "strict" the call
    was refused for them. `queue_seconds`: waited for a place; `budget_spent`: another try was not made
    because too many were under way. `output_chars`: content of a stream so far. `cache`: "hit", "miss",
    "bypass" where the route's cache was not asked, "" where it has none; `saved`: what a hit would have cost,
    in nano-dollars; `semantic`: "hit" where a like question's answer was given, "shadow_hit" where it would
    have been; `similarity`: their cosine. `charge`: what is set aside for the call; None: it was not let in.
    Known when the call closes: `used`, what it is charged with, which may be an estimate where `usage` is
    None; `price`, by which; `cost`, nano-dollars, None: a price is unknown. `trace`: the request's span,
    None where traces are not exported.
    """

    request_id: str
    surface: str
    started: float
    model: str = ""
    stream: bool = False
    key_prefix: str = ""
    team: str = ""
    route: str = ""
    provider: str = ""
    upstream_model: str = ""
    revision: int = 0
    status: int = 0
    code: str = ""
    outcome: Outcome = "ok"
    first_byte: float = 0.0
    first_content: float = 0.0
    ended: float = 0.0
    upstream_seconds: float = 0.0
    queue_seconds: float = 0.0
    budget_spent: bool = False
    usage: Usage | None = None
    cost: int | None = None
    cache: str = ""
    saved: int | None = None
    semantic: str = ""
    similarity: float | None = None
    output_chars: int = 0
    charge: Charge | None = None
    used: Usage | None = None
    price: Price | None = None
    losses: Losses = "warn"
    dropped: list[str] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    trace: Trace | None = None


@dataclass(frozen=True, slots=True)
class Parcel:
    """How a request travels where it is not JSON posted to the path of its dialect.

    `tail`: appended to that path; `content_type` "": there is no body. `form`: a body with files, which can
    be changed field by field; `upload`: a body that is not held but passed on as it comes. `once`: it must
    not be made twice, so only what was surely not begun is tried again.
    """

    content_type: str = "application/json"
    method: str = "POST"
    tail: str = ""
    form: Form | None = None
    upload: Upload | None = None
    once: bool = False


USUAL_PARCEL = Parcel()


class Wish(Struct, frozen=True):
    """What a client wants of files or batches. `provider`: where a new file should go, "" where it does not
    say."""

    kind: Kind
    verb: Literal["create", "list", "get", "content", "delete", "cancel"]
    id: str = ""
    page: Page = FIRST_PAGE
    provider: str = ""


class Call(Struct):
    """One request on its way. `raw` is the body as it arrived, `body` the same parsed once: neither is
    ever changed. `headers`: the client's, lower case, without credentials. `deadline` may be set by the
    client; failover shortens it and sets the rest: `target`, the `credential` to use there, its
    `timeouts`, when a stream belongs to the client (`integrity`), whether it is read to its end when the
    client has left (`drains`), and the `reason` for this attempt. `route` is set by who first looks for it.
    `awaited`: others wait for this call's answer too, so it goes on when its own client has left.
    `when_kept` is called when the call's answer is in the cache. `reply_headers` go out with whatever the
    reply is, an error too. `conversation`: the open WebSocket to a provider, where the call is for one."""

    dialect: Dialect
    raw: bytes
    body: JsonObject
    facts: Facts
    caller: ApiKey
    snapshot: Snapshot
    record: Record
    headers: Mapping[str, str]
    deadline: Deadline = OPEN_END
    route: Route | None = None
    target: Target | None = None
    credential: Credential | None = None
    timeouts: Timeouts = USUAL_TIMEOUTS
    integrity: Integrity = "hold-first"
    drains: bool = False
    awaited: bool = False
    reason: str = "first"
    when_kept: Callable[[], Awaitable[None]] | None = None
    parcel: Parcel = USUAL_PARCEL
    wish: Wish | None = None
    conversation: Conversation | None = None
    reply_headers: list[tuple[str, str]] = field(default_factory=list)
    _closers: list[Callable[[], None]] = field(default_factory=list)
    _closed: bool = False

    @property
    def id(self) -> str:
        return self.record.request_id

    def on_close(self, callback: Callable[[], None]) -> None:
        """Run `callback` once when the body has ended, failed, or the client has left. It must not raise
        and must not wait: what a stage holds is given back at once."""
        self._closers.append(callback)

    def close(self) -> None:
        """End the call: the last registered callback runs first. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self.record.ended = time.monotonic()
        while self._closers:
            self._closers.pop()()


class Conversation(Protocol):
    """A WebSocket to a provider, on which the call goes on when its reply has begun. `told`: why the gateway
    ends it, for the client, None while it does not. `reserved`: tokens that limits and budgets let it use;
    `reserve` asks for more, and says why not."""

    told: GatewayError | None
    reserved: int
    reserve: Callable[[int], Awaitable[GatewayError | None]] | None

    async def receive(self) -> str | bytes | Closed:
        """The provider's next message, or how it ended."""
        ...

    async def send(self, message: str | bytes) -> bool:
        """The client's next message. False: the provider has gone."""
        ...

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """The client has gone, or is sent away. Idempotent."""
        ...


class Refusal(Struct, frozen=True, gc=False):
    """A request that was answered with an error before it became a call."""

    request_id: str
    surface: str
    status: int
    code: str
    key_prefix: str
    team: str
    trace: Trace | None = None


class Body(Protocol):
    """A reply's body in pieces: an async iterator that can be given up at any time."""

    def __aiter__(self) -> Body: ...

    async def __anext__(self) -> bytes: ...

    async def aclose(self) -> None: ...


class Reply(Struct):
    """What goes back: status, headers (lower case), and a whole body or its pieces.

    A body of pieces tells a provider's failure in-band as its last piece; one that is `opaque`, such as
    sound, raises it, and only a broken connection can tell the client. Whoever writes it calls
    `call.close()` and then `aclose` on the body, whatever happens; a reply without a call has nothing to
    close.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes | Body
    call: Call | None = None
    opaque: bool = False


Handler = Callable[[Call], Awaitable[Reply]]
