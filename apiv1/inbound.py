"""A request as a door received it, before anything in it is believed."""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import lru_cache
from typing import Literal
from urllib.parse import unquote

from msgspec import Struct, field

from dialects.errors import MEDIA, Detail, GatewayError, bad_request

# Headers of which two with different values have no meaning.
_SINGLE = frozenset({"authorization", "x-api-key", "content-type", "content-encoding", "host"})
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_JSON = "application/json"
_SECONDS = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")
# What a query's field is called when its value is a key.
KEY_NAMES = frozenset({"key", "api_key", "api-key", "apikey", "x-api-key", "access_token"})


def new_request_id() -> str:
    """An id that no other request has. The later it is made the greater it is, to the millisecond: in the
    ledger's index new ones then lie side by side, while random ones would each touch a page of their own."""
    return f"req_{time.time_ns() // 1_000_000:011x}{os.urandom(7).hex()[:13]}"


class Presence(Struct, gc=False):
    """Why a request is being given up; "" while the client is there and the gateway goes on. `key_id`: whose
    it is, 0 as long as nobody knows."""

    lost: Literal["", "client_gone", "client_stall", "draining", "revoked"] = ""
    key_id: int = 0


class Inbound(Struct, frozen=True):
    """`path` is without root path and query; `headers` are lower case; `body` reads the whole body and
    `pieces` gives it as it comes, either of them once (GatewayError 413 or 408); `duplicates` names
    single-valued headers that came twice; `version` is that of HTTP."""

    method: str
    path: str
    query: bytes
    headers: dict[str, str]
    body: Callable[[], Awaitable[bytes]]
    pieces: Callable[[], AsyncIterator[bytes]]
    duplicates: frozenset[str] = frozenset()
    presence: Presence = field(default_factory=Presence)
    version: str = "1.1"
    request_id: str = field(default_factory=new_request_id)


def read_headers(raw: Iterable[tuple[bytes, bytes]]) -> tuple[dict[str, str], frozenset[str]]:
    """Header dict and the names of single-valued headers that came more than once. A name with `_` is
    dropped: elsewhere it would pass for the one with `-`."""
    headers: dict[str, str] = {}
    duplicates: set[str] = set()
    for raw_name, raw_value in raw:
        name = _name(raw_name)
        if "_" in name:
            continue
        if name in headers:
            if name in _SINGLE:
                duplicates.add(name)
            continue
        headers[name] = raw_value.decode("latin-1")
    return headers, frozenset(duplicates)


@lru_cache(maxsize=1024)
def _name(raw: bytes) -> str:
    # The same few dozen in every request.
    return raw.decode("latin-1").lower()


def check_host(inbound: Inbound) -> None:
    """Refuse a Host that others may read differently: sent twice, missing where HTTP requires it, or with
    more in it than a name and a port. The gateway itself routes by path alone."""
    host = inbound.headers.get("host")
    if "host" in inbound.duplicates:
        raise bad_request("The Host header was sent twice.", code="invalid_host")
    if host is None and inbound.version != "1.0":
        raise bad_request("The Host header is missing.", code="invalid_host")
    if host and not _HOST.fullmatch(host):
        raise bad_request("The Host header is not a name with an optional port.", code="invalid_host")


def check_plain(inbound: Inbound) -> None:
    """Refuse a body that is compressed, or of two types."""
    for name in ("content-type", "content-encoding"):
        if name in inbound.duplicates:
            raise bad_request(f"The header {name} was sent twice.", code="invalid_header")
    encoding = inbound.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise GatewayError(MEDIA, "Compressed request bodies are not supported; send the body as it is.")


def check_media(inbound: Inbound) -> None:
    """Refuse what is not JSON in UTF-8, uncompressed. A missing content type passes as JSON."""
    headers = inbound.headers
    if not inbound.duplicates and headers.get("content-type") == _JSON and "content-encoding" not in headers:
        return
    check_plain(inbound)
    media, _, parameters = headers.get("content-type", "application/json").partition(";")
    media = media.strip().lower()
    if media != "application/json" and not (media.startswith("application/") and media.endswith("+json")):
        raise GatewayError(MEDIA, "The content type must be application/json.", Detail(param="content-type"))
    if "charset" in parameters.lower() and "utf-8" not in parameters.lower():
        raise GatewayError(MEDIA, "The charset must be UTF-8.", Detail(param="content-type"))


def time_limit(inbound: Inbound) -> float | None:
    """Seconds that the client gives the whole call, by the header x-gateway-timeout; None where it says
    nothing. It can only make it shorter than the gateway would."""
    value = inbound.headers.get("x-gateway-timeout")
    if value is None:
        return None
    if not _SECONDS.fullmatch(value) or float(value) <= 0:
        raise bad_request(
            "The header x-gateway-timeout is a number of seconds above 0, such as 30 or 2.5.",
            code="invalid_header",
        )
    return float(value)


def check_query(query: bytes) -> None:
    """Refuse a key in the URL: addresses end up in logs and histories."""
    if query:
        for pair in query.decode("latin-1").split("&"):
            if unquote(pair.partition("=")[0]).lower() in KEY_NAMES:
                raise bad_request(
                    "A key must be sent in the Authorization or x-api-key header, never in the URL.",
                    code="key_in_url",
                )
