"""What a team has captured of its calls: the setting as the call's path sees it, and what is taken."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from dialects.types import JsonObject

Mode = Literal["all", "errors", "share"]
# A team's columns that say it, as its pages show them.
COLUMNS = ("capture", "capture_share", "capture_days", "capture_kilobytes", "capture_patterns")
# A stream says each few letters in an event of its own, so it is taken longer than what is kept of it.
_OVERHEAD = 8
MOST_TAKEN = 2 << 20


@dataclass(frozen=True, slots=True)
class Capturing:
    """`share`: of a hundred calls, in mode "share"; `cap`: bytes that are kept of each side; `patterns`: what
    the team wants redacted besides."""

    mode: Mode
    share: int
    cap: int
    patterns: tuple[str, ...] = ()

    @property
    def taken(self) -> int:
        """How many bytes of a stream are taken, of which `cap` are kept."""
        return min(self.cap * _OVERHEAD, MOST_TAKEN)

    def begins(self, request_id: str) -> bool:
        """Whether a call may be captured, which in mode "share" its id alone decides: on every replica the
        same, and not the client's to choose."""
        if self.mode != "share":
            return True
        drawn = int.from_bytes(hashlib.sha256(request_id.encode()).digest()[:4])
        return drawn * 100 < self.share << 32


@dataclass(frozen=True, slots=True)
class Taken:
    """One call, as it came in and went out. `body`: the request, parsed; `answer`: bytes as they were written
    or would have been; `size`: of both sides, as long as it waits in memory. `at`: seconds since the epoch
    when the call began."""

    request_id: str
    team_id: int
    at: float
    surface: str
    status: int
    cached: bool
    setting: Capturing
    body: JsonObject
    answer: bytes
    content_type: str
    cut: bool
    size: int


class Captures(Protocol):
    """Where captures go. It neither raises nor waits."""

    def put(self, taken: Taken) -> None:
        """A call is over."""
        ...

    def room(self, size: int) -> bool:
        """Whether so many bytes more may be held for an answer under way; what is given room is given back
        by `free`."""
        ...

    def free(self, size: int) -> None: ...


class _Nobody:
    def put(self, taken: Taken) -> None:
        """See Captures."""

    def room(self, size: int) -> bool:  # noqa: ARG002 - the protocol's
        return False

    def free(self, size: int) -> None:
        """See Captures."""


NOBODY: Captures = _Nobody()


def setting_of(mode: Any, share: Any, kilobytes: Any, patterns: Any) -> Capturing | None:
    """The columns of a team as a setting; None: nothing is captured. So it is where they cannot be
    understood, because less must be kept then and not more."""
    if mode not in ("all", "errors", "share") or not isinstance(share, int) or not isinstance(kilobytes, int):
        return None
    if not isinstance(patterns, list) or not all(isinstance(each, str) for each in patterns):
        return None
    return Capturing(mode, share, max(1, min(kilobytes, 1024)) << 10, tuple(patterns))
