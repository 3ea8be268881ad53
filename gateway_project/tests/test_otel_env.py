"""What the OTEL_ variables say of traces: off by default, checked, and no secret shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway_project.env import SettingsError, load
from gateway_project.otel_env import SAMPLERS, TraceSettings, trace_settings

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/"}
ROOT = Path(__file__).resolve().parents[2]


def read(**values: str) -> TraceSettings | None:
    problems: list[str] = []
    found = trace_settings(values, problems)
    assert problems == []
    return found


def settings(**values: str) -> TraceSettings:
    found = read(**ENDPOINT, **values)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"OTEL_SERVICE_NAME": "edge", "OTEL_TRACES_SAMPLER": "always_on"},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "true"},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_off(values: dict[str, str]) -> None:
    assert read(**values) is None


def test_defaults() -> None:
    assert settings() == TraceSettings(
        endpoint="http://collector:4318/v1/traces",
        protocol="http/protobuf",
        compression="none",
        sampler="parentbased_always_on",
        ratio=1.0,
        service="llm-gateway",
        resource={},
        queue=2048,
        batch=512,
        gather=5.0,
    )


VALUES: list[tuple[dict[str, str], str, Any]] = [
    ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "endpoint", "http://collector:4318/"),
    ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "protocol", "grpc"),
    (
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
        "protocol",
        "http/protobuf",
    ),
    ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://t.example/in"}, "endpoint", "https://t.example/in"),
    ({"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}, "compression", "gzip"),
    (
        {"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "none"},
        "compression",
        "none",
    ),
    ({"OTEL_TRACES_SAMPLER": "traceidratio"}, "sampler", "traceidratio"),
    ({"OTEL_TRACES_SAMPLER_ARG": "0.25"}, "ratio", 0.25),
    ({"OTEL_SERVICE_NAME": "edge"}, "service", "edge"),
    ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=named, a.b=c%2Cd ,"}, "service", "named"),
    ({"OTEL_RESOURCE_ATTRIBUTES": "a.b=c%2Cd ,"}, "resource", {"a.b": "c,d"}),
    ({"OTEL_BSP_MAX_QUEUE_SIZE": "7"}, "queue", 7),
    ({"OTEL_BSP_MAX_QUEUE_SIZE": "7"}, "batch", 7),
    ({"OTEL_BSP_SCHEDULE_DELAY": "250"}, "gather", 0.25),
]


@pytest.mark.parametrize(("values", "name", "expected"), VALUES)
def test_values(values: dict[str, str], name: str, expected: Any) -> None:
    assert getattr(settings(**values), name) == expected


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers(sampler: str) -> None:
    assert settings(OTEL_TRACES_SAMPLER=sampler.upper()).sampler == sampler


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:secret-word@collector:port"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://collector"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan"),
        ("OTEL_TRACES_SAMPLER_ARG", "half"),
        ("OTEL_RESOURCE_ATTRIBUTES", "secret-word"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "ten"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file"),
    ],
)
def test_what_is_refused(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load({**ENDPOINT, name: value}, tmp_path)
    (problem,) = refused.value.problems
    assert problem.startswith(name)
    assert "secret-word" not in problem


def test_a_gateway_that_exports_nothing_loads_nothing() -> None:
    lines = "import sys, django; django.setup(); import gateway_project.wiring; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", lines], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert "gateway_project.wiring" in loaded
    # The client of Redis imports the SDK's metrics wherever they are installed.
    heavy = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "google.protobuf", "grpc")
    assert not [name for name in loaded if name.startswith(heavy)]
