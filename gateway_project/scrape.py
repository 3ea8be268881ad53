"""What Prometheus reads: django-prometheus's page, behind a token where one is configured, at an address that
is resolved without the others."""

from __future__ import annotations

import hmac

from django.conf import settings  # noqa: TID251 - the token is a setting of this very address
from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin
from django_prometheus.exports import ExportToDjangoView

ADDRESS = "/metrics"


def metrics(request: HttpRequest) -> HttpResponse:
    """All metrics of this process, or of all workers where there are several. 401 without the token."""
    token = settings.GATEWAY.metrics_token
    if token is not None:
        sent = request.headers.get("authorization", "")
        if not hmac.compare_digest(sent.encode(), b"Bearer " + token.encode()):
            return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    page: HttpResponse = ExportToDjangoView(request)
    return page


class OwnAddresses(MiddlewareMixin):
    """Has the metrics resolved by a list of their own. The admin's would load all of its pages."""

    def process_request(self, request: HttpRequest) -> None:
        if request.path_info == ADDRESS:
            request.urlconf = "gateway_project.scrape_urls"
