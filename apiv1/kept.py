"""The endpoints of files and batches, which belong to the team whose key made them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import ClassVar, Literal
from urllib.parse import parse_qs

from apiv1.base import Visit
from apiv1.calls import CallView, Given
from apiv1.inbound import Inbound, check_plain, time_limit
from dialects.errors import NOT_FOUND, GatewayError, bad_request
from dialects.form import boundary_of
from dialects.media import BATCHES, FILES
from dialects.types import Facts
from pipeline.call import Parcel, Reply, Wish
from routing.ownership import Kind, Page

# What says where a new file should go: a provider's name.
PROVIDER_HEADER = "x-gateway-provider"
_MAX_NAME = 100
_MAX_FIELDS = 20
_EMPTY = Parcel(content_type="")

Verb = Literal["create", "list", "get", "content", "delete", "cancel"]


class Uploading:
    """A client's upload, as the pipeline passes it on."""

    def __init__(self, inbound: Inbound) -> None:
        length = inbound.headers.get("content-length", "")
        self.length = int(length) if length.isdecimal() else None
        self.begun = False
        self._pieces = inbound.pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.begun = True
        async for piece in self._pieces():
            yield piece


class KeptView(CallView):
    """What the addresses of files and batches share. `verbs`: what a method and the tail after an
    id mean."""

    kind: ClassVar[Kind]
    verbs: ClassVar[dict[tuple[str, str], Verb]] = {}

    async def wish(self, visit: Visit, wish: Wish, given: Given | None = None) -> Reply:
        """The reply to a wish. A request without a body is read all the same: so a client that leaves is
        noticed."""
        limit = time_limit(visit.inbound)
        if given is None:
            await visit.inbound.body()
            given = Given(b"", {}, time.monotonic(), _EMPTY)
        call = self.open(visit, given, Facts(model=""))
        call.wish = wish
        return await self.carry(visit, call, limit)

    async def one(self, visit: Visit) -> Reply:
        """The reply about the one whose id the address has."""
        name, _, tail = visit.captured.partition("/")
        method = "GET" if visit.inbound.method == "HEAD" else visit.inbound.method
        verb = self.verbs.get((method, tail))
        if verb is None:
            raise GatewayError(NOT_FOUND, f"There is nothing at {visit.inbound.path[:200]!r}.")
        return await self.wish(visit, Wish(self.kind, verb, name))


class Files(KeptView):
    """/v1/files: POST an upload, GET the list of the team's own."""

    surface = "files"
    dialect = FILES
    kind = "file"

    async def post(self, visit: Visit) -> Reply:
        inbound = visit.inbound
        check_plain(inbound)
        content_type = inbound.headers.get("content-type", "")
        boundary_of(content_type)
        upload = Uploading(inbound)
        parcel = Parcel(content_type, upload=upload, once=True)
        given = Given(b"", {}, time.monotonic(), parcel)
        hint = inbound.headers.get(PROVIDER_HEADER, "")[:_MAX_NAME]
        return await self.wish(visit, Wish("file", "create", provider=hint), given)

    async def get(self, visit: Visit) -> Reply:
        return await self.wish(visit, Wish("file", "list", page=_page(visit.inbound.query, 10_000, 10_000)))


class File(KeptView):
    """/v1/files/{id}: GET and DELETE; /v1/files/{id}/content: GET."""

    surface = "files"
    dialect = FILES
    kind = "file"
    verbs: ClassVar[dict[tuple[str, str], Verb]] = {
        ("GET", ""): "get",
        ("GET", "content"): "content",
        ("DELETE", ""): "delete",
    }

    async def get(self, visit: Visit) -> Reply:
        return await self.one(visit)

    async def delete(self, visit: Visit) -> Reply:
        return await self.one(visit)


class Batches(KeptView):
    """/v1/batches: POST a new one, GET the list of the team's own."""

    surface = "batches"
    dialect = BATCHES
    kind = "batch"

    async def post(self, visit: Visit) -> Reply:
        given = await self.take(visit.inbound)
        once = Given(given.raw, given.body, given.started, Parcel(once=True))
        return await self.wish(visit, Wish("batch", "create"), once)

    async def get(self, visit: Visit) -> Reply:
        return await self.wish(visit, Wish("batch", "list", page=_page(visit.inbound.query, 100, 20)))


class Batch(KeptView):
    """/v1/batches/{id}: GET; /v1/batches/{id}/cancel: POST."""

    surface = "batches"
    dialect = BATCHES
    kind = "batch"
    verbs: ClassVar[dict[tuple[str, str], Verb]] = {("GET", ""): "get", ("POST", "cancel"): "cancel"}

    async def get(self, visit: Visit) -> Reply:
        return await self.one(visit)

    async def post(self, visit: Visit) -> Reply:
        return await self.one(visit)


def _page(query: bytes, most: int, usual: int) -> Page:
    """The part of a list that a query asks for. Raises GatewayError."""
    try:
        asked = parse_qs(query.decode("latin-1"), max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise bad_request("The query has too many fields.") from None
    last = {name: values[-1] for name, values in asked.items()}
    limit = last.get("limit", str(usual))
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 5 and 1 <= int(limit) <= most):
        raise bad_request(f"limit must be a number from 1 to {most}.", "limit")
    order = last.get("order", "desc")
    if order not in ("asc", "desc"):
        raise bad_request("order must be asc or desc.", "order")
    return Page(int(limit), last.get("after", "")[:128], order == "asc", last.get("purpose", "")[:64])
