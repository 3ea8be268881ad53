"""An OTLP receiver on a loopback port, over HTTP and over gRPC, that keeps what it is sent.

    collector = Collector()                 # or GrpcCollector()
    collector.url                           # for OTEL_EXPORTER_OTLP_ENDPOINT
    collector.wait(2)                       # the first two spans, waited for
    collector.status = 503                  # what it answers from now on
    collector.raw                           # every body as it came

Messages are read with the official package's own classes.
"""

from __future__ import annotations

import gzip
import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

_PATIENCE = 15.0
_KINDS = {
    trace_pb2.Span.SPAN_KIND_SERVER: "server",
    trace_pb2.Span.SPAN_KIND_CLIENT: "client",
    trace_pb2.Span.SPAN_KIND_INTERNAL: "internal",
}


class Seen:
    """A span as it arrived. Ids in hex, times in nanoseconds; `error`: what its status says, None where it
    is unset; `resource`: the attributes of who sent it."""

    def __init__(self, span: trace_pb2.Span, resource: dict[str, Any]) -> None:
        self.name = span.name
        self.kind = _KINDS[span.kind]
        self.trace_id, self.id, self.parent = (
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
        )
        self.state = span.trace_state
        self.start, self.end = span.start_time_unix_nano, span.end_time_unix_nano
        self.attributes = _plain(span.attributes)
        failed = span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
        self.error = span.status.message if failed else None
        self.resource = resource

    def __getitem__(self, name: str) -> Any:
        return self.attributes.get(name)


class Kept:
    """What a receiver was sent."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.spans: list[Seen] = []
        # A silent one answers when it is released, and no sooner.
        self.silent = False
        self.heard, self.released = threading.Event(), threading.Event()

    def keep(self, body: bytes) -> None:
        """Take a request."""
        self.heard.set()
        if self.silent:
            self.released.wait(_PATIENCE)
        self.raw.append(body)
        request = ExportTraceServiceRequest.FromString(body)
        for group in request.resource_spans:
            resource = _plain(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans += [Seen(span, resource) for span in scope.spans]

    def wait(self, count: int) -> list[Seen]:
        """The spans in the order of their beginning, when so many are there; no more may have come."""
        end = time.monotonic() + _PATIENCE
        while len(self.spans) < count:
            assert time.monotonic() < end, f"{len(self.spans)} of {count} spans came"
            time.sleep(0.005)
        assert len(self.spans) == count
        return sorted(self.spans, key=lambda span: span.start)


class Collector(Kept):
    """Over HTTP. `status`: what it answers; 200 where it takes the spans."""

    def __init__(self) -> None:
        super().__init__()
        self.status = 200
        self.headers: list[dict[str, str]] = []
        kept = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                kept.headers.append({name.lower(): value for name, value in self.headers.items()})
                if kept.status == 200:
                    kept.keep(body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(kept.status)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                """Nothing: it is a test's."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class GrpcCollector(Kept):
    """Over gRPC."""

    def __init__(self) -> None:
        super().__init__()
        kept = self

        class Servicer(TraceServiceServicer):
            def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the service's own name
                kept.keep(request.SerializeToString())
                return ExportTraceServiceResponse()

        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        register: Any = add_TraceServiceServicer_to_server
        register(Servicer(), self._server)
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()


def _plain(attributes: Any) -> dict[str, Any]:
    pairs: list[KeyValue] = list(attributes)
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return None if kind is None else getattr(value, kind)
