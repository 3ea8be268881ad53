"""The innermost stage: asks one target in the words it speaks and brings back its answer.

Same dialect on both sides: the client's bytes go as they came, only the fields that must differ are
spliced, and a tap reads usage as the answer passes. Otherwise a translator of the pair sits between.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from dialects import estimate
from dialects.errors import INTERNAL, UPSTREAM_BAD, Detail, GatewayError, bad_request
from dialects.parse import merge_patch, splice
from dialects.table import DIALECTS, LOCAL, TRANSLATORS, choose
from dialects.types import Dialect, JsonObject, ModelFacts, Translator, Usage
from pipeline.call import Attempt, Call, Deadline, Reply
from pipeline.failures import as_gateway_error, invalid_response, took_too_long
from pipeline.relay import Relay, Try
from providers.wire import Transport, UpstreamError, UpstreamRequest, UpstreamResponse
from routing.snapshot import Credential, Target

# An error page is read this far and no further: enough for any real message.
ERROR_LIMIT = 64 * 1024
# An error's words follow its status at once; a provider that drips them keeps the next target waiting.
ERROR_SECONDS = 5.0
# A whole answer: 2048 embeddings of 3072 numbers are about 60 MB of JSON.
ANSWER_LIMIT = 128 * 1024 * 1024

# Where a whole answer holds what the model said; vectors are no text.
_SAID: Mapping[str, str] = {
    "chat": "choices",
    "completions": "choices",
    "messages": "content",
    "responses": "output",
    "ollama_chat": "message",
    "embeddings": "",
    "ollama_embed": "",
}

JSON_HEADERS = (("content-type", "application/json"),)
SSE_HEADERS = (
    ("content-type", "text/event-stream; charset=utf-8"),
    # Proxies in between must neither keep nor gather a stream.
    ("x-accel-buffering", "no"),
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One attempt's choice of words: the upstream's dialect, the translator (None: same dialect), the
    path appended to the provider's base URL, and the body to send."""

    dialect: Dialect
    translator: Translator | None
    path: str
    body: bytes


class Upstream:
    """Handler that sends `call` to `call.target`. Raises GatewayError; UpstreamError never leaves it.

    `pick` chooses one of a provider's credentials.
    """

    def __init__(
        self,
        transports: Mapping[str, Transport],
        pick: Callable[[Sequence[Credential]], Credential],
    ) -> None:
        self._transports = transports
        self._pick = pick

    async def __call__(self, call: Call) -> Reply:
        target = call.target
        assert target is not None, "failover sets the target"  # noqa: S101 - a programmer's error, not input
        model = target.upstream_model or call.facts.model
        spoken = choose(call.dialect.name, target.provider.kind.dialects(model))
        if spoken is None:
            return _without_provider(call)
        exchange = _translate(call, target, spoken)
        attempt = Attempt(
            provider=target.provider.name,
            upstream_model=model,
            started=time.monotonic(),
        )
        call.record.attempts.append(attempt)
        try:
            reply = await self._attempt(call, target, exchange, attempt)
        except UpstreamError as error:
            attempt.outcome = error.reason
            raise as_gateway_error(error) from error
        except GatewayError as error:
            attempt.outcome = error.code
            raise
        except asyncio.CancelledError:
            attempt.outcome = "client_gone"
            raise
        except Exception:
            attempt.outcome = INTERNAL.name
            raise
        else:
            if attempt.outcome == "pending":
                attempt.outcome = "ok"
            return reply
        finally:
            attempt.seconds = time.monotonic() - attempt.started
            call.record.upstream_seconds += attempt.seconds

    async def _attempt(self, call: Call, target: Target, exchange: Exchange, attempt: Attempt) -> Reply:
        transport = self._transports[target.provider.kind.transport]
        deadline = call.deadline.sooner(target.provider.timeouts.total)
        response = await transport.send(self._request(call, target, exchange))
        try:
            attempt.status = response.status
            attempt.upstream_request_id = _request_id(response.headers)
            if response.status != 200:
                raise await _refusal(exchange.dialect, response)
            if call.facts.stream:
                return await _stream(call, exchange, response, Try(attempt, deadline))
            return await _whole(call, exchange, response, deadline)
        except BaseException:
            await response.aclose()
            raise

    def _request(self, call: Call, target: Target, exchange: Exchange) -> UpstreamRequest:
        provider = target.provider
        timeouts = provider.timeouts
        left = call.deadline.remaining()
        first_byte = timeouts.first_byte_stream if call.facts.stream else timeouts.first_byte
        return UpstreamRequest(
            method="POST",
            url=provider.base_url + exchange.path,
            headers=self._headers(call, target, exchange),
            body=exchange.body,
            connect=min(timeouts.connect, left),
            first_byte=min(first_byte, left),
            idle=timeouts.idle,
            allow_private=provider.allow_private,
        )

    def _headers(self, call: Call, target: Target, exchange: Exchange) -> dict[str, str]:
        kind = target.provider.kind
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream" if call.facts.stream else "application/json",
            # A compressed stream arrives in blocks, not token by token.
            "accept-encoding": "identity",
            **kind.headers,
        }
        if exchange.translator is None:
            for name in kind.forward:
                value = call.headers.get(name)
                if value is not None:
                    headers[name] = value
        if target.provider.credentials and kind.auth != "none":
            secret = self._pick(target.provider.credentials).secret
            if kind.auth == "bearer":
                headers["authorization"] = "Bearer " + secret
            else:
                headers[kind.auth] = secret
        return headers


def _without_provider(call: Call) -> Reply:
    """The gateway's own answer where the provider knows no such call; a 400 where there is none."""
    local = LOCAL.get(call.dialect.name)
    if local is None:
        raise bad_request(
            f"The model {call.facts.model} is served by a provider that cannot do this kind of request.",
            param="model",
            code="unsupported_operation",
        )
    return Reply(200, [*JSON_HEADERS, ("x-gateway-estimated", "true")], orjson.dumps(local(call.facts)))


def _translate(call: Call, target: Target, spoken: str) -> Exchange:
    kind = target.provider.kind
    model = target.upstream_model or call.facts.model
    client = call.dialect.name
    dialect = DIALECTS[spoken]
    path = kind.paths[spoken]
    if spoken == client:
        patch = _patch(call, target, model)
        # Another target may have been tried before, with a translator that dropped something.
        call.record.dropped = []
        return Exchange(dialect, None, path, splice(call.raw, patch) if patch else call.raw)
    translator = TRANSLATORS[client, spoken]()
    row = call.snapshot.catalogue.get((kind.name, model))
    body = translator.request(call.body, row.facts if row else ModelFacts(name=model))
    if not kind.stream_usage:
        body.pop("stream_options", None)
    if target.body_patch:
        body = merge_patch(body, target.body_patch)
    call.record.dropped = translator.dropped
    if translator.dropped and call.record.losses == "strict":
        raise _would_lose(translator.dropped)
    return Exchange(dialect, translator, path, orjson.dumps(body))


def _would_lose(names: Sequence[str]) -> GatewayError:
    """The refusal of a strict route. Failover takes it for "not this target": another may carry them all."""
    return bad_request(
        f"This model's route is strict, and these fields cannot travel to its provider: {', '.join(names)}.",
        param=names[0],
        code="fields_not_supported",
    )


def _patch(call: Call, target: Target, model: str) -> dict[str, Any]:
    """Top-level fields that must differ from what the client sent."""
    patch: dict[str, Any] = {}
    if model != call.facts.model:
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


async def _refusal(dialect: Dialect, response: UpstreamResponse) -> GatewayError:
    if 300 <= response.status < 400:
        return GatewayError(
            UPSTREAM_BAD, "The provider answered with a redirect.", Detail(code="upstream_redirect")
        )
    if response.status < 400:
        return invalid_response(f"The provider answered with status {response.status}.")
    return dialect.error(response.status, response.headers, await _error_body(response))


async def _error_body(response: UpstreamResponse) -> bytes:
    """What a provider says beside a status; nothing where that cannot be read: the status says more."""
    try:
        async with asyncio.timeout(ERROR_SECONDS):
            return await response.read(ERROR_LIMIT)
    except (UpstreamError, TimeoutError):
        return b""


async def _not_a_stream(dialect: Dialect, response: UpstreamResponse) -> GatewayError:
    body = await _error_body(response)
    try:
        if "error" in orjson.loads(body):
            return dialect.error(502, response.headers, body)
    except (ValueError, TypeError):
        pass
    return invalid_response("The provider answered with one object where a stream was asked for.")


async def _stream(call: Call, exchange: Exchange, response: UpstreamResponse, attempt: Try) -> Reply:
    media = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media in ("text/html", "text/plain"):
        raise invalid_response("The provider answered with a page instead of a stream.")
    if media == "application/json" and exchange.dialect.framing == "sse":
        raise await _not_a_stream(exchange.dialect, response)
    relay = Relay(call, exchange.dialect, exchange.translator, response, attempt)
    await relay.begin()
    return Reply(200, list(SSE_HEADERS), relay)


async def _whole(call: Call, exchange: Exchange, response: UpstreamResponse, deadline: Deadline) -> Reply:
    try:
        async with asyncio.timeout(deadline.remaining()):
            raw = await response.read(ANSWER_LIMIT)
    except TimeoutError:
        raise took_too_long("upstream_timeout") from None
    await response.aclose()
    try:
        answer = orjson.loads(raw)
    except ValueError:
        raise invalid_response("The provider's answer is not valid JSON.") from None
    if not isinstance(answer, dict) or not exchange.dialect.is_answer(answer):
        raise invalid_response("The provider's answer is not of the expected form.")
    call.record.usage = exchange.dialect.usage(answer) or _estimated(call, exchange.dialect, answer)
    if exchange.translator is not None:
        raw = orjson.dumps(exchange.translator.response(answer))
    return Reply(200, list(JSON_HEADERS), raw)


def _estimated(call: Call, dialect: Dialect, answer: JsonObject) -> Usage | None:
    """Usage of an answer whose provider did not count; None for a call that uses no model."""
    said = _SAID.get(dialect.name)
    if said is None:
        return None
    return Usage(
        input_tokens=estimate.tokens(call.facts.prompt_chars),
        output_tokens=estimate.tokens(_chars(answer.get(said))),
        source="estimated",
    )


def _chars(value: Any) -> int:
    """Characters of all strings within, however deep."""
    chars = 0
    rest = [value]
    while rest:
        item = rest.pop()
        if type(item) is str:
            chars += len(item)
        elif type(item) is list:
            rest.extend(item)
        elif type(item) is dict:
            rest.extend(item.values())
    return chars


def _request_id(headers: Mapping[str, str]) -> str | None:
    found = headers.get("x-request-id") or headers.get("request-id")
    # A provider's header is input too: bounded before it reaches a log line.
    return found[:128] if found else None
