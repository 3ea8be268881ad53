"""No page of the admin is asked with a zero byte: no name has one, and PostgreSQL takes none in a text."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseBadRequest
from django.utils.deprecation import MiddlewareMixin


class NoZeroBytes(MiddlewareMixin):
    """Refuses an address or a cookie with a zero byte before any page looks for what it names. Forms refuse
    it in their fields."""

    def process_request(self, request: HttpRequest) -> HttpResponseBadRequest | None:
        query = request.META.get("QUERY_STRING", "").replace("%00", "\0")
        if any("\0" in text for text in (request.path_info, query, *request.COOKIES.values())):
            return HttpResponseBadRequest("A zero byte names nothing here.", content_type="text/plain")
        return None
