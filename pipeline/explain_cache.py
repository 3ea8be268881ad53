"""Says of a request that is explained whether the cache would answer it, by the functions that ask it."""

from __future__ import annotations

from collections.abc import Mapping

from dialects.embeddings import EMBEDDINGS
from pipeline.cache_entry import unpacked
from pipeline.cache_key import exact, partition
from pipeline.cache_rules import kept_out, use_of
from pipeline.cache_stores import Place
from pipeline.call import Call
from pipeline.explanation import CacheSaid, Means, Question
from routing.caching import Caching
from routing.snapshot import Route

# A header that reaches a provider is a part of the request. What an explanation has no headers of is looked
# for as clients send it: with none, or with the one that Anthropic's clients always send.
_HEADERS: tuple[Mapping[str, str], ...] = ({}, {"anthropic-version": "2023-06-01"})


def cache_said(call: Call, route: Route | None, question: Question, means: Means) -> CacheSaid | None:
    """None: no route takes it. Nothing is kept or counted by it."""
    if route is None:
        return None
    if route.caching is None:
        return CacheSaid("off", "the route keeps no answers")
    if question.body is None:
        return CacheSaid("unknown", "give a body to see")
    if why := kept_out(call, route.caching):
        return CacheSaid("bypass", why)
    if question.key is None:
        return CacheSaid("unknown", "an answer is a team's own: name a key")
    if call.dialect.name == EMBEDDINGS.name:
        return CacheSaid("unknown", "of embeddings each text is kept by itself")
    return _looked(call, route, route.caching, means)


def _looked(call: Call, route: Route, caching: Caching, means: Means) -> CacheSaid:
    within = partition(call, route, caching)
    place = Place(within.team, within.route, within.epoch)
    keys = []
    for headers in _HEADERS:
        call.headers = dict(headers)
        keys.append(exact(call, within))
    found = means.looked(place, keys) if means.looked is not None else None
    if found is None:
        return CacheSaid("unknown", "what is kept is not known here")
    for raw, key in zip(found, keys, strict=True):
        entry = None if raw is None else unpacked(raw, place.team, key)
        age = max(0.0, means.now.timestamp() - entry.head.at) if entry is not None else 0.0
        if entry is not None and age < use_of(call, caching).max_age and entry.said(call) is not None:
            return CacheSaid("hit", f"kept {age:.0f} s ago", age)
    like = "; the answer to a like question may serve" if route.semantic is not None else ""
    return CacheSaid("miss", f"nothing is kept for it{like}")
