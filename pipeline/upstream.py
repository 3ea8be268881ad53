"""The innermost stage: asks one target in the words it speaks and brings back its answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from functools import partial

import orjson

from dialects.answer_facts import AnswerFacts
from dialects.as_stream import AS_STREAM
from dialects.errors import INTERNAL, GatewayError, bad_request
from dialects.media import REALTIME, PassedDialect
from dialects.prewarm import only_warms, warmed
from dialects.table import LOCAL, choose
from pipeline.answer import JSON_HEADERS, SSE_HEADERS, refusal, streamed, whole
from pipeline.call import Attempt, Call, Deadline, Reply
from pipeline.conversation import converse
from pipeline.failures import as_gateway_error, out_of_time
from pipeline.ledger import NOBODY, Ledger
from pipeline.passed import passed
from pipeline.relay import Try
from pipeline.request import Exchange, known, translate, upstream_request
from pipeline.tracing import Hop, Trace, new_span_id
from providers.wire import SocketTransport, Transport, UpstreamError, UpstreamResponse
from routing.snapshot import Provider, Target


class Upstream:
    """Handler that sends `call` to `call.target`. Raises GatewayError; UpstreamError never leaves it."""

    def __init__(
        self,
        transports: Mapping[str, Transport],
        ledger: Ledger = NOBODY,
        sockets: SocketTransport | None = None,
    ) -> None:
        self._transports = transports
        self._sockets = sockets
        self._ledger = ledger

    async def __call__(self, call: Call) -> Reply:
        target = call.target
        assert target is not None, "failover sets the target"  # noqa: S101 - a programmer's error, not input
        model = target.upstream_model or call.facts.model
        spoken = dialect_for(call, target, model)
        if spoken is None:
            return _without_provider(call)
        exchange = translate(call, target, spoken)
        if only_warms(call.dialect.name, spoken, call.facts):
            return _warmed(call, model)
        attempt = Attempt(
            provider=target.provider.name,
            upstream_model=model,
            started=time.monotonic(),
            reason=call.reason,
            credential=call.credential.label if call.credential else "",
            credential_id=call.credential.id if call.credential else None,
            hop=_hop(call.record.trace, target.provider, spoken),
        )
        call.record.attempts.append(attempt)
        # Before anything can cost money.
        self._ledger.trying(call.record)
        try:
            reply = await self._attempt(call, target, exchange, attempt)
        except UpstreamError as error:
            attempt.outcome = error.reason
            late = error.reason.endswith("timeout") and call.deadline.remaining() <= 0
            told = out_of_time() if late else as_gateway_error(error)
            attempt.fault = told.fault.name
            raise told from error
        except GatewayError as error:
            attempt.outcome = error.code
            attempt.fault = error.fault.name
            raise
        except asyncio.CancelledError:
            attempt.outcome = "client_gone"
            raise
        except Exception:
            attempt.outcome = INTERNAL.name
            raise
        else:
            _answered(attempt, reply)
            return reply
        finally:
            attempt.seconds = time.monotonic() - attempt.started
            call.record.upstream_seconds += attempt.seconds

    async def _attempt(self, call: Call, target: Target, exchange: Exchange, attempt: Attempt) -> Reply:
        if call.dialect is REALTIME:
            return await converse(call, target, exchange, attempt, self._sockets)
        transport = self._transports[target.provider.kind.transport]
        deadline = call.deadline.sooner(call.timeouts.total)
        sending = transport.send(upstream_request(call, target, exchange, attempt.hop))
        response = await (sending if call.parcel.upload is None else _in_time(sending, deadline))
        try:
            attempt.status = response.status
            attempt.upstream_request_id = _request_id(response.headers)
            if isinstance(exchange.dialect, PassedDialect) and 200 <= response.status < 300:
                return await passed(call, exchange, response, Try(attempt, deadline))
            if response.status != 200:
                raise await refusal(exchange, response)
            if call.facts.stream:
                return await streamed(call, exchange, response, Try(attempt, deadline))
            return await whole(call, exchange, response, Try(attempt, deadline))
        except BaseException:
            await response.aclose()
            raise


def _answered(attempt: Attempt, reply: Reply) -> None:
    if attempt.outcome == "pending":
        attempt.outcome = "ok"
    if attempt.hop is not None:
        attempt.hop.carries = not isinstance(reply.body, bytes)


def _hop(trace: Trace | None, provider: Provider, spoken: str) -> Hop | None:
    if trace is None:
        return None
    said = AnswerFacts(spoken) if trace.sampled else None
    return Hop(new_span_id(), provider.kind.name, provider.base_url, said)


def dialect_for(call: Call, target: Target, model: str) -> str | None:
    """The dialect to speak with the target; None: there is none that it knows and that can be translated."""
    client, kind = call.dialect.name, target.provider.kind
    if client in kind.passes or (not call.facts.needs and kind.speaks(client, model)):
        # As `choose` would, which needs to look at more only where the request needs something.
        return client
    return choose(client, kind.dialects(model), call.facts, partial(known, call, target))


def _without_provider(call: Call) -> Reply:
    """The gateway's own answer where the provider knows no such call; a 400 where there is none."""
    local = LOCAL.get(call.dialect.name)
    if local is None:
        raise bad_request(
            f"The model {call.facts.model} is served by a provider that cannot do this kind of request.",
            param="model",
            code="model_not_found",
        )
    return Reply(200, [*JSON_HEADERS, ("x-gateway-estimated", "true")], orjson.dumps(local(call.facts)))


async def _in_time(sending: Awaitable[UpstreamResponse], deadline: Deadline) -> UpstreamResponse:
    """An upload takes as long as its client, and has no longer than the whole call."""
    try:
        async with asyncio.timeout(deadline.remaining()):
            return await sending
    except TimeoutError:
        raise out_of_time() from None


def _warmed(call: Call, model: str) -> Reply:
    """The gateway's own answer to what only warms a cache, which the provider cannot be asked for."""
    answer = warmed(model)
    if call.facts.stream:
        return Reply(200, list(SSE_HEADERS), AS_STREAM[call.dialect.name](answer))
    return Reply(200, list(JSON_HEADERS), orjson.dumps(answer))


def _request_id(headers: Mapping[str, str]) -> str | None:
    found = headers.get("x-request-id") or headers.get("request-id")
    # A provider's header is input too: bounded before it reaches a log line.
    return found[:128] if found else None
