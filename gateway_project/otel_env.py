"""What the standard OTEL_* variables say of traces, checked. Without an endpoint there are none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

Protocol = Literal["http/protobuf", "grpc"]

SAMPLERS = (
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
    "always_on",
    "always_off",
    "traceidratio",
)
_PROTOCOLS: Mapping[str, Protocol] = {"http/protobuf": "http/protobuf", "grpc": "grpc"}
COMPRESSIONS = ("none", "gzip", "deflate")
# Read by the exporter itself, checked here, so that a start tells what is wrong.
_FILES = ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE")
_KEY = re.compile(r"[\x21-\x2b\x2d-\x3c\x3e-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """Where traces go and which. `endpoint`: the whole address that the protocol posts to. `queue`: requests
    that may wait, `batch`: in one export, `gather`: seconds between two. Headers, which may hold a secret,
    timeout and certificates are the exporter's to read."""

    endpoint: str = field(repr=False)
    protocol: Protocol
    compression: str
    sampler: str
    ratio: float
    service: str
    resource: Mapping[str, str]
    queue: int
    batch: int
    gather: float


def trace_settings(environ: Mapping[str, str], problems: list[str]) -> TraceSettings | None:
    """The settings; None: no traces. `problems` grows by one line for each value that is wrong; no value
    that may hold a secret is in it."""
    return _Reader(environ, problems).settings()


class _Reader:
    def __init__(self, environ: Mapping[str, str], problems: list[str]) -> None:
        self._environ = environ
        self._problems = problems

    def settings(self) -> TraceSettings | None:
        said = self._text
        off = said("OTEL_SDK_DISABLED").lower() == "true"
        exporter = self._choice("OTEL_TRACES_EXPORTER", ("otlp", "none"), "otlp")
        own, shared = self._exporter("ENDPOINT")
        if off or exporter == "none" or not (said(own) or said(shared)):
            return None
        wanted = own if said(own) else shared
        named = [name for name in self._exporter("PROTOCOL") if said(name)]
        protocol = self._choice(named[0] if named else "", tuple(_PROTOCOLS), "http/protobuf")
        self._check_exporter()
        queue = self._number("OTEL_BSP_MAX_QUEUE_SIZE", 2048, 1_000_000)
        resource = self._resource()
        return TraceSettings(
            endpoint=self._endpoint(wanted, whole=protocol == "grpc" or wanted == own),
            protocol=_PROTOCOLS.get(protocol, "http/protobuf"),
            compression=self._compression(),
            # A client that samples its trace wants all of it, and one that does not, none.
            sampler=self._choice("OTEL_TRACES_SAMPLER", SAMPLERS, SAMPLERS[0]),
            ratio=self._ratio(),
            service=said("OTEL_SERVICE_NAME") or resource.get("service.name", "llm-gateway"),
            resource=resource,
            queue=queue,
            batch=min(queue, self._number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512, 100_000)),
            gather=self._number("OTEL_BSP_SCHEDULE_DELAY", 5000, 3_600_000) / 1000,
        )

    def _text(self, name: str) -> str:
        return self._environ.get(name, "").strip()

    def _exporter(self, name: str) -> tuple[str, str]:
        """An exporter's variable: the one of traces alone, which wins, and the one of all signals."""
        return f"OTEL_EXPORTER_OTLP_TRACES_{name}", f"OTEL_EXPORTER_OTLP_{name}"

    def _choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        value = self._text(name).lower() or default
        if value not in choices:
            self._problems.append(f"{name}: {value!r} is not one of {', '.join(choices)}")
        return value

    def _compression(self) -> str:
        own, shared = self._exporter("COMPRESSION")
        return self._choice(own if self._text(own) else shared, COMPRESSIONS, "none")

    def _number(self, name: str, default: int, most: int) -> int:
        text = self._text(name)
        if not text:
            return default
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
        if not 1 <= value <= most:
            self._problems.append(f"{name}: {text!r} is not a number from 1 to {most}")
        return value

    def _ratio(self) -> float:
        text = self._text("OTEL_TRACES_SAMPLER_ARG") or "1"
        try:
            ratio = float(text)
        except ValueError:
            ratio = -1.0
        if not 0 <= ratio <= 1:
            self._problems.append(f"OTEL_TRACES_SAMPLER_ARG: {text!r} is not a number from 0 to 1")
            return 0.0
        return ratio

    def _endpoint(self, name: str, *, whole: bool) -> str:
        """The address as given where it is `whole`; otherwise the base to which the protocol's path is added.
        It may hold a password, so it is not repeated."""
        text = self._text(name)
        try:
            parts = urlsplit(text)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            good = False
        if not good:
            self._problems.append(f"{name}: not a URL such as http://collector:4318")
        return text if whole else text.rstrip("/") + "/v1/traces"

    def _resource(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for pair in self._text("OTEL_RESOURCE_ATTRIBUTES").split(","):
            key, equals, value = pair.strip().partition("=")
            if not pair.strip():
                continue
            if not equals or not _KEY.fullmatch(key.strip()):
                self._problems.append("OTEL_RESOURCE_ATTRIBUTES: not of the form key=value,key=value")
                break
            found[key.strip()] = unquote(value.strip())
        return found

    def _check_exporter(self) -> None:
        for name in self._exporter("TIMEOUT"):
            text = self._text(name)
            if text and not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text):
                self._problems.append(f"{name}: {text!r} is not a number of seconds")
        for kind in _FILES:
            for name in self._exporter(kind):
                text = self._text(name)
                if text and not Path(text).is_file():
                    self._problems.append(f"{name}: there is no file {text!r}")
