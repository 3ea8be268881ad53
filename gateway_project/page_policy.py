"""What a page of the admin may load, and where it may send in the background: the Content-Security-Policy."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

# Everything from here and nothing from elsewhere: a script that got in can send what it finds nowhere in the
# background. It can still take the browser elsewhere with it (`location =`), which no directive forbids.
# The admin's theme brings scripts within its pages and evaluates the expressions in their attributes.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "object-src 'none'",
    )
)


class PagePolicy(MiddlewareMixin):
    """Gives the policy to every reply of Django's that has none of its own."""

    def process_response(self, _: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response
