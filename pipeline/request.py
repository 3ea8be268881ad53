"""What a target is sent: the client's bytes as they came with the few fields that must differ spliced in, or
a translation; and the headers that go with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from msgspec import Struct

from dialects.errors import GatewayError, bad_request
from dialects.media import PassedDialect
from dialects.parse import merge_patch, splice
from dialects.seals import foreign_reasoning
from dialects.table import DIALECTS, TRANSLATORS
from dialects.types import Dialect, JsonObject, ModelFacts, Translator
from pipeline.call import Call
from pipeline.tracing import Hop, sent_on
from providers.wire import UpstreamRequest
from routing.snapshot import Target

# Client headers that mean the same to every provider that reads them.
_OF_NO_DIALECT = frozenset({"idempotency-key"})


class Exchange(Struct, frozen=True):
    """One attempt's choice of words: the upstream's dialect, the translator (None: same dialect), the
    path appended to the provider's base URL, and the body to send."""

    dialect: Dialect
    translator: Translator | None
    path: str
    body: bytes


def known(call: Call, target: Target) -> ModelFacts:
    """What is known of the target's model."""
    model = target.upstream_model or call.facts.model
    row = call.snapshot.catalogue.get((target.provider.kind.name, model))
    return row.facts if row else ModelFacts(name=model)


def translate(call: Call, target: Target, spoken: str) -> Exchange:
    """The call in the words of `spoken`, a dialect of the target. Raises GatewayError (400) for content
    that cannot travel, and on a strict route for any loss."""
    kind = target.provider.kind
    model = target.upstream_model or call.facts.model
    client = call.dialect.name
    dialect = DIALECTS[spoken]
    path = kind.passes.get(spoken) or kind.paths[spoken]
    if spoken == client:
        removed, lost = foreign_reasoning(client, call.raw, call.body)
        # Another target may have been tried before, with a translator that dropped something.
        _note_losses(call, lost)
        patch = _patch(call, target, model, removed)
        return Exchange(dialect, None, path, _spliced(call, patch) if patch else call.raw)
    translator = TRANSLATORS[client, spoken]()
    body = translator.request(call.body, known(call, target))
    if not kind.stream_usage:
        body.pop("stream_options", None)
    if target.body_patch:
        body = merge_patch(body, target.body_patch)
    _note_losses(call, translator.dropped)
    return Exchange(dialect, translator, path, orjson.dumps(body))


def _spliced(call: Call, patch: dict[str, Any]) -> bytes:
    form = call.parcel.form
    return splice(call.raw, patch) if form is None else form.splice(patch)


def _note_losses(call: Call, names: list[str]) -> None:
    call.record.dropped = names
    if names and call.record.losses == "strict":
        raise _would_lose(names)


def _would_lose(names: Sequence[str]) -> GatewayError:
    """The refusal of a strict route. Failover takes it for "not this target": another may carry them all."""
    return bad_request(
        f"This model's route is strict, and these fields cannot travel to its provider: {', '.join(names)}.",
        param=names[0],
        code="fields_not_supported",
    )


def _patch(call: Call, target: Target, model: str, removed: JsonObject) -> dict[str, Any]:
    """Top-level fields that must differ from what the client sent; `removed`: those that do already."""
    patch: dict[str, Any] = dict(removed)
    if model and model != call.body.get("model"):
        patch["model"] = model
    facts = call.facts
    asks = facts.stream and not facts.include_usage and call.dialect.name in ("chat", "completions")
    if not target.provider.kind.stream_usage:
        if "stream_options" in call.body:
            patch["stream_options"] = None
    elif asks:
        # Without it the provider reports no usage for a stream; the extra chunk is taken out again.
        patch["stream_options"] = {**(call.body.get("stream_options") or {}), "include_usage": True}
    for name, value in target.body_patch.items():
        before = patch[name] if name in patch else call.body.get(name)
        patch[name] = None if value is None else merge_patch(before, value)
    return patch


def upstream_request(call: Call, target: Target, exchange: Exchange, hop: Hop | None) -> UpstreamRequest:
    """What the transport sends. `hop`: the span by which the provider may go on with the call's trace."""
    provider = target.provider
    timeouts = call.timeouts
    left = call.deadline.remaining()
    first_byte = timeouts.first_byte_stream if call.facts.stream else timeouts.first_byte
    parcel = call.parcel
    headers = _headers(call, target, exchange)
    trace = call.record.trace
    if hop is not None and trace is not None:
        headers |= sent_on(trace, hop)
    return UpstreamRequest(
        method=parcel.method,
        url=provider.base_url + exchange.path + parcel.tail,
        headers=headers,
        body=exchange.body if parcel.upload is None else parcel.upload,
        connect=min(timeouts.connect, left),
        first_byte=min(first_byte, left),
        idle=timeouts.idle,
        allow_private=provider.allow_private,
        fresh=parcel.once,
    )


def _headers(call: Call, target: Target, exchange: Exchange) -> dict[str, str]:
    kind = target.provider.kind
    headers = {
        "content-type": call.parcel.content_type,
        "accept": _accepted(call),
        # A compressed stream arrives in blocks, not token by token.
        "accept-encoding": "identity",
        **kind.headers,
    }
    for name in kind.forward if exchange.translator is None else kind.forward & _OF_NO_DIALECT:
        value = call.headers.get(name)
        if value is not None:
            headers[name] = value
    if call.credential is not None and kind.auth != "none":
        secret = call.credential.secret
        if kind.auth == "bearer":
            headers["authorization"] = "Bearer " + secret
        else:
            headers[kind.auth] = secret
    if not call.parcel.content_type:
        del headers["content-type"]
    return headers


def _accepted(call: Call) -> str:
    if isinstance(call.dialect, PassedDialect) and call.dialect.raw != "never":
        return "*/*"
    return "text/event-stream" if call.facts.stream else "application/json"
