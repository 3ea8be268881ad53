"""What somebody sees in the admin who edits while edits are frozen: the page he came from, and why."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.deprecation import MiddlewareMixin

from routing.freeze import FrozenError


class FrozenPage(MiddlewareMixin):
    """Answers for views that refused an edit. The management API answers by itself."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, FrozenError):
            return None
        if not request.accepts("text/html"):
            return HttpResponse(str(error), status=423, content_type="text/plain; charset=utf-8")
        messages.error(request, str(error))
        return HttpResponseRedirect(request.get_full_path())
