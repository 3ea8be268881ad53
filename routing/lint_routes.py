"""Checks of routes: whether they are used, whether somebody answers, and what their fallbacks are worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dialects.capabilities import resolve
from dialects.types import ModelFacts
from routing.findings import Finding, at_provider, at_route, model_at, said
from routing.fit import CONTENT
from routing.plan import match, unusable
from routing.semantic import LOCAL
from routing.snapshot import Route, Snapshot, Target

# No client asks for it, so that only what covers every name with this stem takes it.
_ANY_NAME = "\N{REPLACEMENT CHARACTER}" * 3
# Failures that one account's targets have in common.
_OF_THE_ACCOUNT = frozenset({"outage", "rate_limit"})


def lint_routes(snapshot: Snapshot) -> Iterator[Finding]:
    """All that is to be said of routes."""
    teams = {key.team.id for key in snapshot.keys.values()}
    for route in snapshot.routes:
        yield from _unreachable(snapshot, route, teams)
        able = [target for target in route.targets if unusable(target) is None]
        yield from _answering(route, able)
        yield from _embedder(snapshot, route)
        first, later = _split(able)
        if first:
            yield from _same_account(route, first, later)
            yield from _weaker(snapshot, route, first, later)


def _unreachable(snapshot: Snapshot, route: Route, teams: set[int]) -> Iterator[Finding]:
    name = route.stem + _ANY_NAME if route.is_prefix else route.pattern
    taken = match(snapshot, name, route.team_id)
    if taken is not None and taken.id != route.id:
        yield Finding(
            "unreachable-route",
            "warning",
            at_route(route),
            f"No request comes here: {taken.name} has the same pattern and goes before it.",
            "Delete or disable one of the two, or give this one the higher priority.",
            (at_route(taken),),
        )
    elif route.team_id is not None and route.team_id not in teams:
        yield Finding(
            "route-without-callers",
            "info",
            at_route(route),
            "Only one team sees this route, and it has no usable key.",
            "Issue a key for the team, or delete the route.",
        )


def _answering(route: Route, able: Sequence[Target]) -> Iterator[Finding]:
    ordinary = [target for target in able if not target.after]
    others = tuple(at_provider(target) for target in route.targets)
    if not ordinary:
        reasons = dict.fromkeys(words for target in route.targets if (words := unusable(target)))
        yield Finding(
            "nobody-answers",
            "error",
            at_route(route),
            f"Every request is a 503: {'; '.join(reasons) or 'it has no target that is asked first'}.",
            "Enable a target and its provider, or give the provider a credential.",
            others,
        )
    elif len(able) == 1 and (len(route.targets) > 1 or route.late_fallback):
        why = (
            "it is to ask another target when an answer is late"
            if len(route.targets) == 1
            else "its others are disabled, weigh nothing or have no credential"
        )
        yield Finding(
            "no-fallback",
            "warning",
            at_route(route),
            f"Only {said(route, able[0])} can answer, and {why}: when it fails, requests fail.",
            "Make another target usable, or take away what is not meant to be used.",
            others,
        )


def _embedder(snapshot: Snapshot, route: Route) -> Iterator[Finding]:
    like = route.semantic
    if like is None or like.embedder == LOCAL or match(snapshot, like.embedder, route.team_id) is not None:
        return
    yield Finding(
        "model-nobody-serves",
        "error",
        at_route(route),
        f"Like questions are to be found by the model {like.embedder}, which no route takes.",
        f"Make a route for {like.embedder}, or choose another embedder.",
    )


def _split(able: Sequence[Target]) -> tuple[list[Target], list[Target]]:
    """The targets that are asked first, and those that are asked when they have failed."""
    ordinary = [target for target in able if not target.after]
    lowest = min((target.tier for target in ordinary), default=0)
    first = [target for target in ordinary if target.tier == lowest]
    return first, [target for target in able if target not in first]


def _accounts(target: Target) -> set[tuple[str, str]]:
    """With whom a call is billed and limited: the address, and whose secret."""
    provider = target.provider
    secrets = [credential.secret for credential in provider.credentials] or [""]
    return {(provider.base_url, secret) for secret in secrets}


def _same_account(route: Route, first: Sequence[Target], later: Sequence[Target]) -> Iterator[Finding]:
    backing = [target for target in later if not target.after or target.after & _OF_THE_ACCOUNT]
    held = set[tuple[str, str]]().union(*map(_accounts, first))
    if not backing or any(_accounts(target) - held for target in backing):
        return
    yield Finding(
        "same-account",
        "warning",
        at_route(route),
        f"Its fallbacks ({', '.join(said(route, target) for target in backing)}) are at the same account as "
        "what they stand in for: an outage or a rate limit there stops all of them.",
        "Add a target at another provider, or at another account.",
        tuple(at_provider(target) for target in backing),
    )


def _weaker(
    snapshot: Snapshot, route: Route, first: Sequence[Target], later: Sequence[Target]
) -> Iterator[Finding]:
    known = [facts for target in first if (facts := _facts(snapshot, route, target)) is not None]
    if len(known) < len(first):
        # What the first ones can is not known for every name, so nothing can be said of less.
        return
    windows = [facts.context_window for facts in known if facts.context_window is not None]
    able = frozenset[str].intersection(*map(resolve, known)) & CONTENT
    for target in later:
        facts = _facts(snapshot, route, target)
        if facts is None:
            continue
        yield from _smaller(route, target, min(windows, default=None), facts.context_window)
        lacking = able - resolve(facts)
        if lacking:
            yield Finding(
                "fallback-lacks",
                "warning" if "tools" in lacking else "info",
                at_route(route),
                f"The fallback {said(route, target)} lacks {' and '.join(sorted(lacking))}, which what it "
                "stands in for has: requests that need it have no fallback there.",
                "Choose a model that has it, or correct the capabilities in the catalogue.",
                (at_provider(target),),
            )


def _smaller(route: Route, target: Target, before: int | None, window: int | None) -> Iterator[Finding]:
    if before is None or window is None:
        return
    waits = "context_length" in target.after
    if window < before or (waits and window == before):
        words = "is to take what is too long for the others" if waits else "stands in for larger ones"
        yield Finding(
            "smaller-context",
            "warning",
            at_route(route),
            f"{said(route, target)} {words}, and has a context of {window} tokens where they have {before}.",
            "Choose a model with a larger context, or correct the catalogue.",
            (at_provider(target),),
        )


def _facts(snapshot: Snapshot, route: Route, target: Target) -> ModelFacts | None:
    model = model_at(route, target)
    if model is None:
        return None
    row = snapshot.catalogue.get((target.provider.kind.name, model))
    return ModelFacts(model) if row is None else row.facts
