"""At which provider a file or batch is, and where a new file goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from dialects.errors import BUSY, Detail, GatewayError, bad_request
from dialects.media import FILES
from pipeline.call import Call
from routing.ownership import Owned
from routing.snapshot import ApiKey, Provider, Route, Snapshot

# The routes whose provider gets a file of which the client does not say where it should go, best first.
_FIRST = ("gpt-*", "*")


def home_of(snapshot: Snapshot, owned: Owned) -> Provider:
    """The provider as it is to be asked for this object: with the credential of the account that made it.
    Raises GatewayError where it is not there any more."""
    for provider in snapshot.providers.values():
        if provider.id == owned.provider and provider.enabled:
            return account(provider, owned)
    raise GatewayError(
        BUSY, "The provider that keeps this is not available.", Detail(code="no_healthy_target")
    )


def account(provider: Provider, owned: Owned) -> Provider:
    """The provider with that one of its credentials that sees this object. Where it is gone, another may be
    of the same account: the provider says so, or that it knows nothing of it."""
    own = tuple(one for one in provider.credentials if one.id == owned.credential)
    return replace(provider, credentials=own or provider.credentials)


def new_home(call: Call, wanted: str) -> Provider:
    """The provider for a new file: the one that the client names among those that its key's routes reach,
    else that of the route gpt-*, else of the route *, else the first. Raises GatewayError where there is
    none."""
    found = list(_reached(call.snapshot, call.caller))
    if wanted:
        found = [provider for provider in found if provider.name == wanted]
    if not found:
        raise bad_request(
            "No provider that keeps files and that this key's routes reach has this name."
            if wanted
            else "None of the providers that this key's routes reach keeps files.",
            param="x-gateway-provider" if wanted else None,
            code="provider_not_found",
        )
    return found[0]


def _reached(snapshot: Snapshot, key: ApiKey) -> Iterator[Provider]:
    """Providers with files behind the routes that this key can use, best first."""
    mine = [
        route for route in snapshot.routes if route.team_id in (None, key.team.id) and _may_use(key, route)
    ]
    mine.sort(key=lambda route: (_rank(route), route.team_id is None, -route.priority, route.id))
    seen: set[int] = set()
    for route in mine:
        for target in route.targets:
            provider = target.provider
            usable = target.enabled and provider.enabled and FILES.name in provider.kind.passes
            if usable and provider.id not in seen:
                seen.add(provider.id)
                yield provider


def _rank(route: Route) -> int:
    return _FIRST.index(route.pattern) if route.pattern in _FIRST else len(_FIRST)


def _may_use(key: ApiKey, route: Route) -> bool:
    """Whether some model that this key may use takes this route, as far as names tell."""
    return not key.allowed_models or any(_overlap(entry, route) for entry in key.allowed_models)


def _overlap(entry: str, route: Route) -> bool:
    if entry.endswith("*"):
        stem = entry[:-1]
        return route.stem.startswith(stem) or (route.is_prefix and stem.startswith(route.stem))
    return entry.startswith(route.stem) if route.is_prefix else entry == route.pattern
