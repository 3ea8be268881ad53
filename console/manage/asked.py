"""What requests to the management API have in common: numbers in the query, pages, If-Match, and a reason."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from console.manage.access import Refused

_MOST = 200
_USUAL = 100

IF_MATCH = OpenApiParameter(
    "If-Match",
    str,
    OpenApiParameter.HEADER,
    required=True,
    description="The ETag of what was read, or * for whichever.",
)
REASON = OpenApiParameter(
    "X-Change-Reason", str, OpenApiParameter.HEADER, description="Why, for the revision and the audit log."
)


def number_in(request: Request, name: str, otherwise: int) -> int:
    """A number of the query. Raises Refused for what is none."""
    text = request.query_params.get(name)
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Refused(400, "A number was expected in the query.", [name])
    return int(text)


def page_size(request: Request) -> int:
    """How many rows of a list are wanted, within bounds."""
    return max(1, min(_MOST, number_in(request, "limit", _USUAL)))


def check_match(request: Request, tag: str) -> None:
    """Raises Refused where the request was made from something else than what has this tag now."""
    said = request.headers.get("If-Match", "").strip()
    if not said:
        raise Refused(428, "Say by If-Match what it was made from, or * for whichever.")
    if said != "*" and tag not in {each.strip() for each in said.split(",")}:
        raise Refused(412, "Somebody has changed it since it was read.")
