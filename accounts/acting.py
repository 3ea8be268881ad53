"""On whose behalf something is done: known of each request of the admin and of the management API, so that
whoever writes down what was changed knows who, by which way, and why."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

# As long as a revision's.
_MOST_REASON = 500


@dataclass(slots=True)
class Acting:
    """A request that may change something. `token`: the shown part of the management token that it came with;
    `reason`: why, as whoever asks says."""

    request: HttpRequest
    via: str
    token: str = ""
    reason: str = ""

    @property
    def author(self) -> str:
        """Who asks; "" before that is known."""
        user: Any = getattr(self.request, "user", None)
        return str(user.get_username()) if user is not None and user.is_authenticated else ""

    @property
    def address(self) -> str | None:
        """The address that it came from, as the server has it."""
        return self.request.META.get("REMOTE_ADDR") or None


_acting: ContextVar[Acting | None] = ContextVar("acting", default=None)


def acting() -> Acting | None:
    """The request at hand; None in a command, or at start."""
    return _acting.get()


def acting_id() -> int | None:
    """The id of the user who asks; None: a command, or nobody is known."""
    now = acting()
    user: Any = getattr(now.request, "user", None) if now else None
    return user.pk if user is not None and user.is_authenticated else None


class KnowsWhoActs(MiddlewareMixin):
    """Remembers each request while it is answered."""

    def process_request(self, request: HttpRequest) -> None:
        via = "api" if request.path.startswith("/manage/") else "admin"
        reason = request.headers.get("X-Change-Reason", "").strip()[:_MOST_REASON]
        _acting.set(Acting(request, via, reason=reason.replace("\0", "")))

    def process_response(self, _: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        _acting.set(None)
        return response
