"""What Prometheus reads: django-prometheus's page, behind a token where one is configured."""

from __future__ import annotations

import hmac

from django.conf import settings  # noqa: TID251 - the token is a setting of this very address
from django.http import HttpRequest, HttpResponse
from django_prometheus.exports import ExportToDjangoView


def metrics(request: HttpRequest) -> HttpResponse:
    """All metrics of this process, or of all workers where there are several. 401 without the token."""
    token = settings.GATEWAY.metrics_token
    if token is not None:
        sent = request.headers.get("authorization", "")
        if not hmac.compare_digest(sent.encode(), b"Bearer " + token.encode()):
            return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    page: HttpResponse = ExportToDjangoView(request)
    return page
