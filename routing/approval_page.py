"""What somebody sees in the admin whose change takes somebody else: where it is kept, and why."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.deprecation import MiddlewareMixin

from accounts.rights import Action, may
from routing.approval_gate import NeedsApprovalError
from routing.approvals import keep_asked, words_of_asked
from routing.drafts import DraftError
from routing.models_approvals import Approval


class ApprovalPage(MiddlewareMixin):
    """Keeps what a view held back, which is taken back by then. The management API answers by itself."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, NeedsApprovalError):
            return None
        approval = kept(request, error)
        user: Any = request.user
        if approval is None or not may(user, Action.READ_DRAFTS):
            return HttpResponseRedirect(request.get_full_path())
        return HttpResponseRedirect(reverse("admin:routing_draft_change", args=[approval.draft_id]))


def kept(request: HttpRequest, error: NeedsApprovalError) -> Approval | None:
    """Keep it and say so. None: it could not be kept, and the page says why."""
    queued: Any = messages.get_messages(request)
    # What the page was about to say of a success is not true any more.
    queued._queued_messages.clear()
    try:
        approval = keep_asked(error)
    except DraftError as refused:
        for words in refused.problems:
            messages.error(request, words)
        return None
    messages.warning(request, words_of_asked(approval))
    return approval
