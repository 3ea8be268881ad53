"""The head of a request, read strictly: bytes in, a `Head` or the refusal out.

What two servers could read in two ways is refused, because one of them may be the proxy in front: that is
what request smuggling lives on. Sources: RFC 9110 and 9112, and Daphne's own rules for names and values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from dialects.errors import BAD_METHOD, BAD_REQUEST, Detail, Family, GatewayError, bad_request
from gateway_project.refusals import head_too_large

Headers = list[tuple[bytes, bytes]]

_TOKEN = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]++"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]++) HTTP/([0-9]\.[0-9])")
# Every line a name, a colon without space before it, a value without control characters; no line continued.
# \x85 ends a line for `str.splitlines`.
_FIELDS = re.compile(rb"(?:" + _TOKEN + rb":[^\x00-\x08\x0a-\x1f\x7f\x85]*+\r\n)*+")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::[0-9]{1,5})?")
# Twenty digits are more than any cap, and more could only cost time to read.
_LENGTH = re.compile(rb"[0-9]{1,20}")

# Both are answered with what the caller sent, or make a tunnel of the server.
_NEVER = (b"TRACE", b"CONNECT")
# Clients cannot be allowed to say where the application is mounted.
_DROPPED = b"daphne-root-path"


@dataclass(slots=True)
class Head:
    """`length` is the body's in bytes, None when it comes in chunks. `path` is decoded, `raw_path` as it
    came; header names are lower case."""

    method: str
    target: bytes
    path: str
    raw_path: bytes
    query: bytes
    version: str
    headers: Headers
    length: int | None = 0
    keep_alive: bool = False
    expects_continue: bool = False
    websocket: bool = False


def find_end(data: bytes) -> int:
    """Where the head ends (its empty line excluded), or -1. GatewayError 400 for a line that ends otherwise
    than by CR LF."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        # A CR at the very end may be half of a line's end.
        lone = data.count(b"\r") - data.endswith(b"\r")
        if data.count(b"\n") != lone or data.count(b"\r\n") != lone:
            raise _malformed("a line does not end with CR LF")
    return end


def parse_head(data: bytes, max_headers: int) -> Head:
    """Read a head, without the empty line that ends it. GatewayError with the status to answer."""
    line, _, block = data.partition(b"\r\n")
    head = _request_line(line)
    if block:
        block += b"\r\n"
        if _FIELDS.fullmatch(block) is None:
            raise _malformed("a header line is malformed")
        lines = block.split(b"\r\n")
        if len(lines) > max_headers + 1:
            raise head_too_large()
        _fields(head, lines)
    _frame(head)
    return head


def family_of(data: bytes) -> Family:
    """Whose client speaks, by the address in a request's first line, which may be malformed."""
    return "anthropic" if b" /v1/messages" in data[:64].partition(b"\r")[0] else "openai"


def _malformed(what: str) -> GatewayError:
    return bad_request(f"The request is malformed: {what}.", code="malformed_request")


def _request_line(line: bytes) -> Head:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise _malformed("its first line is not a method, a path and a version")
    method, target, version = match.groups()
    if version not in (b"1.1", b"1.0"):
        message = "Only HTTP/1.1 and HTTP/1.0 are spoken here."
        raise GatewayError(BAD_REQUEST, message, Detail("http_version_not_supported", status=505))
    if method in _NEVER:
        raise GatewayError(BAD_METHOD, f"{method.decode()} is not answered here.")
    if not target.startswith(b"/") or b"#" in target:
        raise _malformed("its target is not a path")
    raw_path, _, query = target.partition(b"?")
    path = raw_path.decode("ascii")
    if "%" in path:
        path = unquote(path)
    return Head(method.decode("ascii"), target, path, raw_path, query, version.decode("ascii"), [])


def _fields(head: Head, lines: list[bytes]) -> None:
    headers = head.headers
    for line in lines:
        name, colon, value = line.partition(b":")
        # A name with `_` would be taken for the one with `-` by CGI's rules, which Django follows.
        if colon and b"_" not in name:
            name = name.lower()
            if name != _DROPPED:
                headers.append((name, value.strip(b" \t")))


def _frame(head: Head) -> None:
    hosts: list[bytes] = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    connection: list[bytes] = []
    upgrade: list[bytes] = []
    expect: list[bytes] = []
    watched = {
        b"host": hosts,
        b"content-length": lengths,
        b"transfer-encoding": codings,
        b"connection": connection,
        b"upgrade": upgrade,
        b"expect": expect,
    }
    for name, value in head.headers:
        if name in watched:
            watched[name].append(value)
    modern = head.version == "1.1"
    _check_host(hosts, required=modern)
    head.length = _body_length(lengths, codings, chunks=modern)
    head.expects_continue = _expectation(expect) and modern
    if modern:
        wishes = b",".join(connection).lower() if connection else b""
        head.keep_alive = not (wishes and b"close" in [wish.strip() for wish in wishes.split(b",")])
        if upgrade and upgrade[0].lower() == b"websocket":
            if head.length != 0:
                raise _malformed("a WebSocket's request has no body")
            head.websocket = True


def _check_host(hosts: list[bytes], *, required: bool) -> None:
    if len(hosts) != 1:
        if hosts or required:
            raise bad_request("A request has exactly one Host header.", code="invalid_host")
    elif _HOST.fullmatch(hosts[0]) is None:
        raise bad_request("The Host header is not a host name.", code="invalid_host")


def _body_length(lengths: list[bytes], codings: list[bytes], *, chunks: bool) -> int | None:
    if codings:
        if lengths or not chunks or len(codings) != 1 or codings[0].lower() != b"chunked":
            raise _malformed("its Transfer-Encoding is not `chunked` alone")
        return None
    if not lengths:
        return 0
    if len(lengths) != 1 or _LENGTH.fullmatch(lengths[0]) is None:
        raise _malformed("its Content-Length is not one number")
    return int(lengths[0])


def _expectation(expect: list[bytes]) -> bool:
    if not expect:
        return False
    if len(expect) != 1 or expect[0].lower() != b"100-continue":
        message = "No expectation but 100-continue is met here."
        raise GatewayError(BAD_REQUEST, message, Detail("expectation_failed", status=417))
    return True
