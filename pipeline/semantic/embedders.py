"""Where vectors come from: the embedded model, or a model that the gateway itself routes."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import orjson

from dialects.embeddings import EMBEDDINGS
from dialects.errors import GatewayError
from pipeline.call import Call, Deadline, Handler, Record
from pipeline.semantic.lazily import Lazily
from pipeline.semantic.vectors import pack
from routing.semantic import LOCAL, Semantic


class Model(Protocol):
    """A model in this process."""

    async def embed(self, text: str) -> bytes | None: ...


class Embedders:
    """Vectors by the name that a route gives."""

    def __init__(self, local: Lazily[Model]) -> None:
        self._local = local
        self._handler: Handler | None = None

    def route_through(self, handler: Handler) -> None:
        """The whole pipeline, by which other models are asked; it has this within, so it comes later."""
        self._handler = handler

    def warm(self) -> None:
        """Begin to load the embedded model."""
        self._local.get()

    @property
    def ready(self) -> bool:
        """True when the embedded model is loaded."""
        return self._local.made is not None

    async def embed(self, call: Call, semantic: Semantic, text: str) -> bytes | None:
        """A packed vector. None where the text has none, or the model is not loaded yet. Raises GatewayError,
        or OSError for an answer that is no vector."""
        if semantic.embedder == LOCAL:
            model = self._local.get()
            return None if model is None else await model.embed(text)
        return await self._asked(call, semantic, text)

    async def _asked(self, call: Call, semantic: Semantic, text: str) -> bytes | None:
        """An internal call of the same key: with a record and a ledger row of its own, charged to the same
        budgets. Its limits are for what the client does, and what the key may ask for is for what it asks:
        neither is asked for what the route does on its own."""
        if self._handler is None:
            raise ConnectionError("there is no way to other models")
        body = {"model": semantic.embedder, "input": text, "encoding_format": "float"}
        record = Record(
            request_id=f"{call.id}-embedding",
            surface=EMBEDDINGS.name,
            started=time.monotonic(),
            model=semantic.embedder,
            key_prefix=call.caller.prefix,
            team=call.caller.team.name,
            revision=call.snapshot.revision,
            trace=None if call.record.trace is None else call.record.trace.below(),
        )
        asked = Call(
            dialect=EMBEDDINGS,
            raw=orjson.dumps(body),
            body=body,
            facts=EMBEDDINGS.facts(body),
            caller=replace(call.caller, allowed_models=(), limits=()),
            snapshot=call.snapshot,
            record=record,
            headers={},
            deadline=Deadline.after(semantic.seconds),
        )
        try:
            reply = await self._handler(asked)
            record.first_byte, record.status = time.monotonic(), reply.status
        except GatewayError as error:
            record.outcome, record.code, record.status = "error", error.code, error.status("openai")
            raise
        except asyncio.CancelledError:
            record.outcome, record.code, record.status = "error", "semantic_timeout", 504
            raise
        finally:
            asked.close()
        if not isinstance(reply.body, bytes):
            raise ConnectionError("a stream is no vector")
        return _vector(reply.body)


def _vector(body: bytes) -> bytes:
    """The first vector of an embeddings answer. Raises OSError where there is none."""
    try:
        numbers: Any = orjson.loads(body)["data"][0]["embedding"]
        if isinstance(numbers, str):
            numbers = _decoded(numbers)
        packed = pack(numbers) if isinstance(numbers, Sequence) else None
    except (ValueError, KeyError, IndexError, TypeError):
        packed = None
    if packed is None:
        raise ConnectionError("the provider's answer holds no vector")
    return packed


def _decoded(text: str) -> array[float]:
    try:
        return array("f", base64.b64decode(text, validate=True))
    except binascii.Error:
        raise ValueError("not in base 64") from None
