"""What may be set about the Daphne server, with the reason for every default."""

from __future__ import annotations

from dataclasses import dataclass

from gateway_project import limits


@dataclass(frozen=True, slots=True, kw_only=True)
class DaphneOptions:
    """Times are in seconds, sizes in bytes.

    `max_body`: a prompt of a million tokens is about 5 MB, the rest is room for images; providers take 20 to
        32.
    `max_headers`: several times what the SDKs send.
    `body_seconds`: the largest body over a line of 3 Mbit/s, and a little more than an application's own
        limit, which can say more than this server can.
    `abandoned_seconds`: what an application may go on for after its client has left.
    `max_connections`: None is half of the files that this process may open: each may need one upstream too.
    The rest is every server's: see gateway_project/limits.py.
    """

    max_body: int = 20 * 1024 * 1024
    max_head: int = limits.MAX_HEAD
    max_headers: int = 100
    head_seconds: float = limits.HEAD_SECONDS
    body_seconds: float = 65.0
    idle_seconds: float = limits.IDLE_SECONDS
    stall_seconds: float = limits.STALL_SECONDS
    abandoned_seconds: float = 10.0
    notice_seconds: float = limits.NOTICE_SECONDS
    drain_seconds: float = limits.DRAIN_SECONDS
    last_seconds: float = limits.LAST_SECONDS
    max_connections: int | None = None
    backlog: int = limits.BACKLOG
