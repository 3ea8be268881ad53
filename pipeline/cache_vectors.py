"""Embeddings, kept input by input: of a batch, providers are asked only for what is new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from msgspec.structs import replace

from dialects.cacheable import canonical
from dialects.types import JsonObject, Usage
from pipeline.answer import JSON_HEADERS
from pipeline.cache_entry import Entry
from pipeline.cache_key import Partition, digest, headers
from pipeline.cache_shelf import Shelf, Slot, is_fallback
from pipeline.call import Call, Handler, Reply
from pipeline.failures import invalid_response
from pipeline.prices import cost_of

ITEMS_HEADER = "x-gateway-cache-items"


@dataclass(frozen=True, slots=True)
class _Asked:
    """The inputs of a request, one key for each, in their order, and what is known of each key."""

    inputs: Sequence[Any]
    keys: Sequence[bytes]
    known: dict[bytes, Entry]

    def new(self) -> dict[bytes, Any]:
        """The inputs that have to be asked for, each once."""
        every = zip(self.keys, self.inputs, strict=True)
        return {key: given for key, given in every if key not in self.known}


class Vectors:
    """Answers requests for embeddings from what is kept, and has `inner` answer the rest."""

    def __init__(self, inner: Handler, shelf: Shelf) -> None:
        self._inner = inner
        self._shelf = shelf

    def handler(self, slot: Slot, within: Partition) -> Handler:
        """A handler for calls in this slot."""
        return partial(self._answer, slot=slot, within=within)

    async def _answer(self, call: Call, *, slot: Slot, within: Partition) -> Reply:
        inputs = _inputs(call.body.get("input"))
        if inputs is None:
            call.record.cache = "bypass"
            return await self._inner(call)
        asked = await self._look(call, inputs, slot, within)
        new = asked.new()
        self._shelf.metrics.items(slot.route.pattern, len(asked.known), len(new))
        saved = [entry.head.cost for entry in asked.known.values()]
        total = None if any(cost is None for cost in saved) else sum(cost or 0 for cost in saved)
        if not new:
            self._shelf.hit(call, slot.route, max(map(self._shelf.age, asked.known.values())), total)
            return Reply(200, list(JSON_HEADERS), _whole(asked, asked.known, None))
        if asked.known:
            call.record.saved = total
            told = f"{len(inputs) - sum(key in new for key in asked.keys)}/{len(inputs)}"
            call.reply_headers.append((ITEMS_HEADER, told))
        return await self._ask(call, asked, slot)

    async def _look(self, call: Call, inputs: Sequence[Any], slot: Slot, within: Partition) -> _Asked:
        rest = {name: value for name, value in canonical(call.body).items() if name != "input"}
        sent = headers(call)
        keys = [digest("vector", within, sent, rest, given) for given in inputs]
        known: dict[bytes, Entry] = {}
        if slot.use.look:
            unique = list(dict.fromkeys(keys))
            found = await self._shelf.look(slot, unique)
            known = {key: entry for key, entry in zip(unique, found, strict=True) if entry is not None}
        return _Asked(inputs, keys, known)

    async def _ask(self, call: Call, asked: _Asked, slot: Slot) -> Reply:
        new = asked.new()
        as_given = len(new) == len(asked.inputs)
        part = call if as_given else _part(call, list(new.values()))
        try:
            reply = await self._inner(part)
        finally:
            # What it costs is the price of the target that was asked.
            call.target, call.credential = part.target, part.credential
        if not isinstance(reply.body, bytes):
            raise TypeError("embeddings come whole")
        answer = orjson.loads(reply.body)
        vectors = _in_order(answer, len(new))
        if vectors is None:
            if as_given:
                return reply
            raise invalid_response("The provider's answer does not have a vector for each input.")
        fresh = self._entries(call, dict(zip(new, vectors, strict=True)), answer, slot)
        if slot.use.keep and not is_fallback(call, slot.route):
            self._shelf.beside(self._shelf.keep(slot, list(fresh.values())))
        if as_given:
            return reply
        return Reply(200, list(JSON_HEADERS), _whole(asked, asked.known | fresh, answer))

    def _entries(
        self, call: Call, vectors: dict[bytes, Any], answer: JsonObject, slot: Slot
    ) -> dict[bytes, Entry]:
        cost = cost_of(call, call.record.usage or Usage())
        entries = {}
        for key, vector in vectors.items():
            head = self._shelf.head(slot, key, "vector", call)
            # Each has an equal share: providers do not say more.
            head.cost = None if cost is None else round(cost / len(vectors))
            head.model = str(answer.get("model") or "")
            entries[key] = Entry(head, orjson.dumps(vector))
        return entries


def _inputs(given: Any) -> Sequence[Any] | None:
    """The inputs one by one: texts, or lists of tokens; None where there are none that could be told
    apart."""
    if type(given) is str:
        return [given]
    if type(given) is not list:
        return None
    return [given] if type(given[0]) is int else given


def _part(call: Call, inputs: list[Any]) -> Call:
    """The same call for some of its inputs. Record and closers are the call's own."""
    body = {**call.body, "input": inputs}
    # What is asked is another request than the one that the client's key for repeats stands for.
    sent = {name: value for name, value in call.headers.items() if name != "idempotency-key"}
    return replace(call, raw=orjson.dumps(body), body=body, facts=call.dialect.facts(body), headers=sent)


def _in_order(answer: JsonObject, count: int) -> list[Any] | None:
    """The vectors by their indexes; None where they are not as many as were asked for."""
    data = answer.get("data")
    if type(data) is not list or len(data) != count:
        return None
    found = {entry.get("index", place): entry["embedding"] for place, entry in enumerate(data)}
    return None if set(found) != set(range(count)) else [found[place] for place in range(count)]


def _whole(asked: _Asked, entries: dict[bytes, Entry], answer: JsonObject | None) -> bytes:
    """The answer for all inputs. Its usage is that of what a provider was asked for."""
    data = [
        {"object": "embedding", "index": place, "embedding": orjson.Fragment(entries[key].body)}
        for place, key in enumerate(asked.keys)
    ]
    if answer is None:
        model = entries[asked.keys[0]].head.model
        answer = {"object": "list", "model": model, "usage": {"prompt_tokens": 0, "total_tokens": 0}}
    return orjson.dumps({**answer, "data": data})
