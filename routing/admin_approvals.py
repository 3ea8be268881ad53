"""What is done about approval on the admin's page of a draft: asked for, approved, rejected, withdrawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpRequest

from routing.approvals import approve, publish_or_ask, reject, withdraw, words_of_asked
from routing.draft_mode import draft_of, leave
from routing.models_approvals import Approval
from routing.models_drafts import Draft

_DONE = "Published as revision {}. Taking that back undoes it."


def publish_here(request: HttpRequest, draft: Draft) -> None:
    """Publish what was seen, or ask for approval of it. Raises DraftError, PermissionDenied, FrozenError."""
    words = (request.POST.get("reason", "").strip(), request.POST.get("seen", "-"))
    done = publish_or_ask(draft, request.user, *words)
    if isinstance(done, Approval):
        messages.warning(request, words_of_asked(done))
        return
    if draft_of(request) is None:
        leave(request)
    messages.success(request, _DONE.format(done))


def _approve(request: HttpRequest, draft: Draft) -> None:
    user: Any = request.user
    found = approve(draft, user, request.POST.get("seen", "-"))
    if found.revision is not None:
        messages.success(request, _DONE.format(found.revision))
        return
    for words in found.problems:
        messages.error(request, words)
    messages.error(request, "So nothing was published, and approval has to be asked for anew.")


def _reject(request: HttpRequest, draft: Draft) -> None:
    reject(draft, request.user, request.POST.get("reason", ""))
    messages.success(request, "Rejected. The draft stays, to be mended.")


def _withdraw(request: HttpRequest, draft: Draft) -> None:
    withdraw(draft, request.user)
    messages.success(request, "Nobody is asked any more. The draft stays.")


ANSWERS: Mapping[str, Callable[[HttpRequest, Draft], None]] = {
    "approve": _approve,
    "reject": _reject,
    "withdraw": _withdraw,
}
