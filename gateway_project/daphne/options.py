"""What may be set about the Daphne server, with the reason for every default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from apiv1.caps import LARGER, MAX_BODY
from gateway_project import limits


@dataclass(frozen=True, slots=True, kw_only=True)
class DaphneOptions:
    """Times are in seconds, sizes in bytes.

    `max_body`, `larger`: see apiv1/caps.py, which gives the addresses that take more; there a body has
        as much more time.
    `max_headers`: several times what the SDKs send.
    `body_seconds`: the largest body over a line of 3 Mbit/s, and a little more than an application's own
        limit, which can say more than this server can.
    `abandoned_seconds`: what an application may go on for after its client has left.
    `max_connections`: None is half of the files that this process may open: each may need one upstream too.
    The rest is every server's: see gateway_project/limits.py.
    """

    max_body: int = MAX_BODY
    larger: Mapping[str, int] = field(default_factory=lambda: LARGER)
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

    def body_cap(self, path: str) -> int:
        """The most that a body at this address may have."""
        return self.larger.get(path, self.max_body)

    def body_patience(self, path: str) -> float:
        """Seconds for a body at this address."""
        return self.body_seconds * max(1.0, self.body_cap(path) / MAX_BODY)
