"""Every error code of the gateway's own: a fault's, and those of single occurrences.

A code that is not here is a provider's word. Metrics name all of these, whatever providers make up.
"""

from __future__ import annotations

from dialects import errors

_FAULTS = frozenset(
    fault.openai_code or fault.name for fault in vars(errors).values() if isinstance(fault, errors.Fault)
)
# What `Detail.code` replaces a fault's with.
_OCCURRENCES = frozenset(
    {
        # the door
        "ambiguous_api_key",
        "expectation_failed",
        "expired_api_key",
        "headers_too_large",
        "http_version_not_supported",
        "invalid_encoding",
        "invalid_form",
        "invalid_header",
        "invalid_host",
        "invalid_json",
        "key_in_url",
        "malformed_request",
        "missing_api_key",
        "unprocessable",
        "websocket_not_supported",
        # what is asked for
        "batches_not_allowed",
        "content_filter",
        "context_length_exceeded",
        "fields_not_supported",
        "model_not_allowed",
        "provider_not_found",
        "response_not_found",
        "thread_unsupported_request",
        "unsupported_content",
        # limits, lines and targets
        "concurrency",
        "no_healthy_target",
        "origin_not_allowed",
        "queue_timeout",
        "requests",
        "tokens",
        # the provider
        "upstream_answer_too_large",
        "upstream_auth",
        "upstream_closed",
        "upstream_connect_timeout",
        "upstream_event_too_large",
        "upstream_first_byte_timeout",
        "upstream_idle_timeout",
        "upstream_invalid_response",
        "upstream_not_a_stream",
        "upstream_redirect",
        "upstream_truncated",
        "upstream_unreachable",
        # how a call ended
        "client_gone",
        "client_stall",
        "deadline_exceeded",
        "draining",
        "low_priority_shed",
        "process_died",
        "revoked_api_key",
        "session_expired",
        "stream_max_duration",
    }
)
OWN_CODES = _FAULTS | _OCCURRENCES
