"""What may be set about the Daphne server, with the reason for every default."""

from __future__ import annotations

from dataclasses import dataclass

from gateway_project.drain import DRAIN_SECONDS, LAST_SECONDS, NOTICE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class DaphneOptions:
    """Times are in seconds, sizes in bytes.

    `max_body`: a prompt of a million tokens is about 5 MB, the rest is room for images; providers take 20 to
        32.
    `max_head`, `max_headers`: five times what the SDKs send; what Envoy and nginx allow, nearly.
    `head_seconds`: a head is one packet; whoever needs longer is broken or means harm.
    `body_seconds`: the largest body over a line of 3 Mbit/s, and a little more than an application's own
        limit, which can say more than this server can.
    `idle_seconds`: longer than load balancers and SDKs keep a connection (60, often less), so that they close
        it first and never send into one that is being closed.
    `stall_seconds`: what a reader may rest without taking one byte.
    `abandoned_seconds`: what an application may go on for after its client has left.
    `notice_seconds`, `drain_seconds`, `last_seconds`: every server's; see gateway_project/drain.py.
    `max_connections`: None is half of the files that this process may open: each may need one upstream too.
    `backlog`: connections that wait in the kernel; the kernel caps it.
    """

    max_body: int = 20 * 1024 * 1024
    max_head: int = 16 * 1024
    max_headers: int = 100
    head_seconds: float = 15.0
    body_seconds: float = 65.0
    idle_seconds: float = 75.0
    stall_seconds: float = 30.0
    abandoned_seconds: float = 10.0
    notice_seconds: float = NOTICE_SECONDS
    drain_seconds: float = DRAIN_SECONDS
    last_seconds: float = LAST_SECONDS
    max_connections: int | None = None
    backlog: int = 1024
