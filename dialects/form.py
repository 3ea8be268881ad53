"""Forms with files (multipart/form-data): read so strictly that every other reader finds the same fields.

What two readers could understand differently is refused, because a form decides which model is asked, and
with it what a key may use: a second reader that found another model in it would be a way around. So there
is no library here: those that read forms forgive much, and none says where in the bytes a field stands,
which is what it takes to change one and leave all others as they came.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from dialects.errors import MEDIA, Detail, GatewayError, bad_request
from dialects.types import JsonObject

# The largest form has sixteen images and a dozen fields.
MAX_PARTS = 128
# A name, a file's name and a type.
MAX_PART_HEAD = 4096
_MAX_PART_HEADERS = 8
_CRLF = b"\r\n"

# RFC 2046: up to 70 of these, of which those with a meaning in a header stand only between quotes.
_BOUNDARY = re.compile(
    r"""\"([0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-])\"|([0-9A-Za-z'+_.-]{1,70})"""
)
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_PARAMETER = re.compile(
    rb";[ \t]*([a-zA-Z]+\*?)=(?:\"((?:[^\"\\\x00-\x1f]|\\[^\x00-\x1f])*)\"|([^\s\";,\\]+))[ \t]*"
)
_ENCODINGS = (b"binary", b"8bit", b"7bit")


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form: where its boundary begins, where its value is, and whether it is a file."""

    name: str
    begin: int
    value: int
    end: int
    is_file: bool


@dataclass(frozen=True, slots=True)
class Form:
    """A form as it arrived. `body`: its fields as a JSON object: text as a string, a file as `{"bytes": n}`,
    and a list of these where a name comes more than once."""

    raw: bytes
    boundary: bytes
    parts: tuple[Part, ...]
    body: JsonObject

    def splice(self, patch: Mapping[str, Any]) -> bytes:
        """The form's bytes with fields set (None: removed); all others keep their bytes and their place, new
        fields come first. What is no text is written as JSON."""
        raw, left = self.raw, dict(patch)
        pieces: list[bytes] = []
        at = 0
        for part, following in zip(self.parts, (*self.parts[1:], None), strict=True):
            if part.name not in patch:
                continue
            value = left.pop(part.name, None)
            if value is None:
                # Also of a name that comes again after it was set.
                pieces.append(raw[at : part.begin])
                at = part.end + len(_CRLF) if following is None else following.begin
            else:
                pieces += (raw[at : part.value], _text(value))
                at = part.end
        pieces.append(raw[at:])
        new = [self._field(name, value) for name, value in left.items() if value is not None]
        return b"".join((*new, *pieces))

    def _field(self, name: str, value: Any) -> bytes:
        head = b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n' % (self.boundary, name.encode())
        return head + _text(value) + _CRLF


def boundary_of(content_type: str) -> bytes:
    """The boundary that the header Content-Type names. GatewayError 415 for another type, 400 for a header
    that can be read in more than one way."""
    media, *parameters = content_type.split(";")
    if media.strip().lower() != "multipart/form-data":
        raise GatewayError(
            MEDIA, "The content type must be multipart/form-data.", Detail(param="content-type")
        )
    found: list[str] = []
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name.lower() == "charset" and value.strip('"').lower() == "utf-8":
            continue
        match = _BOUNDARY.fullmatch(value)
        if name.lower() != "boundary" or match is None:
            raise _malformed("its content type has a parameter other than one valid boundary")
        found.append(match[1] or match[2])
    if len(found) != 1:
        raise _malformed("its content type does not name one boundary")
    return found[0].encode("ascii")


def parse_form(raw: bytes, content_type: str) -> Form:
    """The form. GatewayError 400 for everything that is not exactly one."""
    boundary = boundary_of(content_type)
    parts: list[Part] = []
    body: JsonObject = {}
    for begin, end in _spans(raw, boundary):
        part = _part(raw, begin, end, len(boundary))
        parts.append(part)
        value = {"bytes": part.end - part.value} if part.is_file else _value(raw, part)
        if part.name in body:
            before = body[part.name]
            body[part.name] = [*before, value] if type(before) is list else [before, value]
        else:
            body[part.name] = value
    return Form(raw, boundary, tuple(parts), body)


def _spans(raw: bytes, boundary: bytes) -> Iterator[tuple[int, int]]:
    """Of each part: where its boundary begins, and where its value ends. The boundary occurs nowhere else."""
    mark = b"--" + boundary
    if not raw.startswith(mark):
        raise _malformed("it does not begin with its boundary")
    begin = 0
    for _ in range(MAX_PARTS + 1):
        after = begin + len(mark)
        if raw[after : after + 2] == b"--":
            if raw[after + 2 :] not in (b"", _CRLF):
                raise _malformed("something follows its end")
            return
        if raw[after : after + 2] != _CRLF:
            raise _malformed("its boundary occurs within a field")
        following = raw.find(mark, after)
        if following < 0:
            raise _malformed("it ends before its last boundary")
        if raw[following - 2 : following] != _CRLF:
            raise _malformed("its boundary occurs within a field")
        yield begin, following - 2
        begin = following
    raise _malformed(f"it has more than {MAX_PARTS} fields")


def _part(raw: bytes, begin: int, end: int, width: int) -> Part:
    start = begin + width + 4
    head_end = raw.find(b"\r\n\r\n", start, min(end, start + MAX_PART_HEAD) + 1)
    if head_end < 0 or head_end + 4 > end:
        raise _malformed("a field has no complete head")
    headers: dict[bytes, bytes] = {}
    lines = raw[start:head_end].split(_CRLF)
    if len(lines) > _MAX_PART_HEADERS:
        raise _malformed("a field has too many headers")
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None or match[1].lower() in headers:
            raise _malformed("a field's header is malformed or comes twice")
        headers[match[1].lower()] = match[2].strip()
    size = end - head_end - 4
    if headers.get(b"content-length", b"%d" % size) != b"%d" % size:
        raise _malformed("a field's length is not what its header says")
    if headers.get(b"content-transfer-encoding", b"binary").lower() not in _ENCODINGS:
        raise _malformed("a field is encoded")
    name, is_file = _disposition(headers.get(b"content-disposition", b""))
    # A form may say of its fields, or of all of them, in which bytes their text is written.
    charset = b"charset" in headers.get(b"content-type", b"").lower().replace(b"charset=utf-8", b"")
    if name == "_charset_" or (charset and not is_file):
        raise _malformed("a field of text is not in UTF-8")
    return Part(name, begin, head_end + 4, end, is_file)


def _disposition(value: bytes) -> tuple[str, bool]:
    """A field's name, and whether it is a file."""
    kind, _, _ = value.partition(b";")
    found: dict[bytes, bytes] = {}
    at = len(kind)
    while at < len(value):
        match = _PARAMETER.match(value, at)
        if match is None or match[1].lower() in found:
            raise _malformed("a field's Content-Disposition is malformed")
        found[match[1].lower()] = match[2] if match[2] is not None else match[3]
        at = match.end()
    name = found.get(b"name", b"")
    odd = found.keys() - {b"name", b"filename", b"filename*"}
    if kind.strip().lower() != b"form-data" or odd or not name or b"\\" in name:
        raise _malformed("a field's Content-Disposition is malformed")
    return _decoded(name), b"filename" in found or b"filename*" in found


def _value(raw: bytes, part: Part) -> str:
    return _decoded(raw[part.value : part.end])


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise bad_request(
            "A field of the form that is no file is not valid UTF-8.", code="invalid_encoding"
        ) from None


def _text(value: Any) -> bytes:
    return value.encode() if type(value) is str else orjson.dumps(value)


def _malformed(what: str) -> GatewayError:
    return bad_request(f"The form (multipart/form-data) is malformed: {what}.", code="invalid_form")
