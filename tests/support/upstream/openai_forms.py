"""Forms with files as OpenAI reads them, by Python's own reader of MIME, and the checks that they share."""

from __future__ import annotations

from dataclasses import dataclass
from email import policy
from email.parser import BytesParser
from typing import Any

from tests.support.upstream.openai_shapes import missing
from tests.support.upstream.refused import RefusedError
from tests.support.upstream.wire import Received


@dataclass(frozen=True, slots=True)
class File:
    """One file of a form."""

    filename: str
    content_type: str
    content: bytes


Fields = dict[str, list[str | File]]


def form_of(request: Received) -> Fields:
    """The fields of the request's form, in their order. RefusedError: it is none."""
    kind = request.header("content-type") or ""
    if not kind.startswith("multipart/form-data"):
        raise RefusedError(f"Unsupported content type: '{kind}'.", status=415)
    boundary = kind.partition("boundary=")[2].strip('"').encode()
    if not boundary or not request.body.rstrip(b"\r\n").endswith(b"--" + boundary + b"--"):
        raise RefusedError("Could not parse multipart form")
    head = b"MIME-Version: 1.0\r\nContent-Type: " + kind.encode("latin-1") + b"\r\n\r\n"
    message = BytesParser(policy=policy.HTTP).parsebytes(head + request.body)
    if message.defects or not message.is_multipart():
        raise RefusedError("Could not parse multipart form")
    fields: Fields = {}
    for part in message.iter_parts():
        disposition = part["content-disposition"].params
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        name = disposition["name"]
        if "filename" in disposition:
            found: str | File = File(disposition["filename"], part.get_content_type(), content)
        else:
            found = content.decode()
        fields.setdefault(name, []).append(found)
    return fields


def text(fields: Fields, name: str, *, required: bool = False) -> str:
    """A field of text, "" where it is not there. RefusedError: it comes twice, or is a file."""
    values = fields.get(name, [])
    if not values:
        if required:
            raise missing(name)
        return ""
    if len(values) > 1 or not isinstance(values[0], str):
        raise RefusedError(f"Invalid type for '{name}': expected one string.", param=name)
    return values[0]


def files(fields: Fields, *names: str) -> list[File]:
    """The files under these names. RefusedError: there is none, or one is text."""
    found = [value for name in names for value in fields.get(name, [])]
    if not found:
        raise missing(names[0])
    if not all(isinstance(value, File) for value in found):
        raise RefusedError(f"Invalid type for '{names[0]}': expected a file.", param=names[0])
    return [value for value in found if isinstance(value, File)]


def known_fields(fields: Fields | dict[str, Any], known: frozenset[str]) -> None:
    """Only fields that the API documents."""
    for name in fields:
        if name.removesuffix("[]").partition("[")[0] not in known:
            raise RefusedError(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
