"""The metrics that the GenAI conventions name: what is counted, and what is no provider's work."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from dialects.types import Usage
from pipeline.call import Attempt, Record
from pipeline.metrics import Metrics

PLACE = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "openai", "gateway_route": "gpt-*"}


def counted(**changes: Any) -> CollectorRegistry:
    """What the metrics say after one call: a stream of two seconds, whose content begins after one."""
    record = Record(request_id="req_1", surface="messages", started=100.0, ended=102.0, first_content=101.0)
    record.route, record.provider, record.status = "gpt-*", "openai", 200
    record.usage = Usage(input_tokens=300, output_tokens=5)
    record.attempts = [Attempt("openai", "gpt-4o", 100.0, outcome="ok")]
    for name, value in changes.items():
        setattr(record, name, value)
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.opened(record)
    metrics.closed(record)
    return registry


def sums(registry: CollectorRegistry) -> list[float | None]:
    """Of tokens in, tokens out, the time to the first token and that for each token after it."""
    value = registry.get_sample_value
    tokens = [
        value("gen_ai_client_token_usage_sum", {**PLACE, "gen_ai_token_type": kind})
        for kind in ("input", "output")
    ]
    return [
        *tokens,
        value("gen_ai_server_time_to_first_token_seconds_sum", PLACE),
        value("gen_ai_server_time_per_output_token_seconds_sum", PLACE),
    ]


def test_a_stream() -> None:
    registry = counted()
    assert sums(registry) == [300, 5, 1.0, 0.25]
    bucket = {**PLACE, "gen_ai_token_type": "input"}
    found = [
        registry.get_sample_value("gen_ai_client_token_usage_bucket", {**bucket, "le": le}) for le in LES
    ]
    assert found == [0, 1]


LES = ("256.0", "1024.0")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"first_content": 0.0}, [300, 5, None, None]),
        ({"outcome": "error", "code": "upstream_truncated"}, [300, 5, 1.0, None]),
        ({"usage": Usage(input_tokens=300, output_tokens=1)}, [300, 1, 1.0, None]),
        ({"usage": Usage(300, 5, source="estimated")}, [None, None, 1.0, None]),
        ({"usage": None}, [None, None, 1.0, None]),
        # A cache has answered.
        ({"attempts": []}, [None] * 4),
    ],
)
def test_what_is_not_known_is_not_counted(changes: dict[str, Any], expected: list[float | None]) -> None:
    assert sums(counted(**changes)) == expected
