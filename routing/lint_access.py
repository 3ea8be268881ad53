"""Checks of keys, limits, budgets and providers: who reaches nothing, what is not counted or never trips."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from urllib.parse import urlsplit

from routing.allowances import Budget
from routing.findings import Finding, Where, at_route, model_at, overlap, said
from routing.plan import match, unusable
from routing.snapshot import ApiKey, Provider, Route, Snapshot, Target

# A breaker that wants more failures than this in a row, and more attempts in a second than any target has,
# stays closed through any outage that people would notice.
_MANY_IN_A_ROW = 1000
_MANY_A_SECOND = 100.0
_NAMED = 5
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0", "::"})  # noqa: S104 - compared with, never listened on


def lint_keys(snapshot: Snapshot, now: datetime) -> Iterator[Finding]:
    """Of lists of models that have no route, in keys and in limits."""
    told: dict[tuple[int, str], bool] = {}
    for key in snapshot.keys.values():
        if key.expires_at is not None and key.expires_at <= now:
            continue
        yield from _entries(snapshot, key, told)
    yield from _limited_models(snapshot)


def _entries(snapshot: Snapshot, key: ApiKey, told: dict[tuple[int, str], bool]) -> Iterator[Finding]:
    def served(entry: str) -> bool:
        place = key.team.id, entry
        if place not in told:
            told[place] = _is_served(snapshot, entry, key.team.id)
        return told[place]

    idle = [entry for entry in key.allowed_models if not served(entry)]
    if not idle:
        return
    here = Where("key", key.id, f"{key.prefix} {key.label}".strip())
    if len(idle) == len(key.allowed_models):
        yield Finding(
            "key-reaches-nothing",
            "error",
            here,
            f"None of the models that it may use has a route: {_some(idle)}.",
            "Make a route for one of them, or correct the list.",
        )
        return
    yield Finding(
        "model-nobody-serves",
        "warning",
        here,
        f"It may use what no route takes: {_some(idle)}.",
        "Make a route, or take it out of the list.",
    )


def _is_served(snapshot: Snapshot, entry: str, team: int | None) -> bool:
    if not entry.endswith("*"):
        return match(snapshot, entry, team) is not None
    return any(route.team_id in (None, team) and overlap(entry, route.pattern) for route in snapshot.routes)


def _limited_models(snapshot: Snapshot) -> Iterator[Finding]:
    limits = {limit.id: limit for key in snapshot.keys.values() for limit in key.limits if limit.model}
    for limit in limits.values():
        if any(overlap(limit.model, route.pattern) for route in snapshot.routes):
            continue
        yield Finding(
            "model-nobody-serves",
            "warning",
            Where("limit", limit.id, f"of {limit.amount} {limit.kind}"),
            f"It counts nothing: no route takes {limit.model}.",
            "Make a route for the model, or correct the limit's model.",
        )


def lint_budgets(snapshot: Snapshot) -> Iterator[Finding]:
    """Of models without a price that keys with a budget in money can reach: what they cost is not counted."""
    # Of keys that may use all models, by team; of the others one by one.
    free: dict[int, dict[int, Budget]] = {}
    bound: dict[tuple[int, tuple[str, ...], tuple[Budget, ...]], None] = {}
    for key in snapshot.keys.values():
        money = tuple(budget for budget in key.budgets if budget.unit == "usd")
        if money and key.allowed_models:
            bound[key.team.id, key.allowed_models, money] = None
        elif money:
            free.setdefault(key.team.id, {}).update((budget.id, budget) for budget in money)
    if not (free or bound):
        return
    everybody = {number: budget for team in free.values() for number, budget in team.items()}
    places = {budget.id: _at_budget(budget) for *_, money in bound for budget in money}
    places |= {number: _at_budget(budget) for number, budget in everybody.items()}
    for route in snapshot.routes:
        unpriced = [target for target in route.targets if not _is_priced(snapshot, route, target)]
        if not unpriced:
            continue
        budgets = dict(everybody if route.team_id is None else free.get(route.team_id, {}))
        for team, models, money in bound:
            if route.team_id in (None, team) and _may(models, route):
                budgets |= {budget.id: budget for budget in money}
        if budgets:
            yield Finding(
                "unpriced-under-budget",
                "error" if any(budget.hard for budget in budgets.values()) else "warning",
                at_route(route),
                f"Keys with a budget in money come here, and the catalogue has no price of "
                f"{_some([said(route, target) for target in unpriced])}: calls there count as nothing.",
                "Enter the prices in the model catalogue, 0 for what is free.",
                tuple(map(places.__getitem__, budgets)),
            )


def _at_budget(budget: Budget) -> Where:
    return Where("budget", budget.id, budget.owner or "everybody")


def _may(models: Collection[str], route: Route) -> bool:
    return any(overlap(entry, route.pattern) for entry in models)


def _is_priced(snapshot: Snapshot, route: Route, target: Target) -> bool:
    kind = target.provider.kind
    if unusable(target) is not None or kind.transport != "http":
        return True
    model = model_at(route, target)
    if model is None:
        # Of a prefix only so much can be told: that there is no price of anything there.
        return any(k == kind.name and _fits(name, route) for k, name in snapshot.catalogue)
    row = snapshot.catalogue.get((kind.name, model))
    return row is not None and row.price.input is not None and row.price.output is not None


def _fits(name: str, route: Route) -> bool:
    return overlap(name, route.pattern)


def lint_providers(snapshot: Snapshot, own: Collection[tuple[str, int]]) -> Iterator[Finding]:
    """Of breakers, credentials and addresses. `own`: hosts and ports at which this gateway is reached."""
    used = {target.provider.id for route in snapshot.routes for target in route.targets if target.enabled}
    for provider in snapshot.providers.values():
        if not provider.enabled:
            continue
        here = Where("provider", provider.id, provider.name)
        yield from _breaker(provider, here)
        if provider.id in used and provider.kind.needs_credential and not provider.credentials:
            yield Finding(
                "no-credential",
                "warning",
                here,
                "Routes go to it, and it has no usable credential: no call is sent there.",
                "Add a credential, or disable the provider.",
            )
        if _is_own(provider, own):
            yield Finding(
                "cycle",
                "error",
                here,
                "Its address is this gateway's own: a call goes round until its time is over.",
                "Enter the address of the provider, or route to it by its own name.",
            )


def _breaker(provider: Provider, here: Where) -> Iterator[Finding]:
    settings = provider.breaker
    if settings.mode != "auto":
        held = "every call is refused" if settings.mode == "open" else "its failures are not counted"
        yield Finding(
            "breaker-held",
            "warning" if settings.mode == "open" else "info",
            here,
            f"Its breaker is held {settings.mode}: {held}.",
            "Set it to auto when the reason for it is over.",
        )
        return
    by_share = settings.ratio <= 1 and settings.minimum <= settings.window_seconds * _MANY_A_SECOND
    if settings.consecutive > _MANY_IN_A_ROW and not by_share:
        yield Finding(
            "breaker-never-trips",
            "warning",
            here,
            f"Its breaker wants {settings.consecutive} failures in a row, or {settings.minimum} attempts "
            f"within {settings.window_seconds:g} seconds: no outage brings that about, and calls go on to "
            "fail there.",
            "Take lower figures: the defaults are 5 in a row, and half of 20 within 30 seconds.",
        )


def _is_own(provider: Provider, own: Collection[tuple[str, int]]) -> bool:
    try:
        address = urlsplit(provider.base_url)
        host = (address.hostname or "").lower()
        port = address.port or (443 if address.scheme == "https" else 80)
    except ValueError:
        return False
    names = _LOCAL if host in _LOCAL else {host}
    return any(port == its and (name in names) for name, its in own)


def _some(names: Collection[str]) -> str:
    listed = list(dict.fromkeys(names))
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + more
