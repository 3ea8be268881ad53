"""LiteLLM's proxy configuration into this gateway's document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from accounts.keys import WeakKeyError, check_chosen
from providers.catalogue import listed_names
from providers.models import MAX_SECONDS
from providers.presets import PRESETS
from providers.wire import USUAL_TIMEOUTS
from routing.caching import MAX_TTL_SECONDS
from routing.imports.draft import Draft, is_pattern, named, reference
from routing.imports.litellm_models import MARK, Deployment, Models, credentials_of
from routing.imports.litellm_targets import same, targets_of
from routing.imports.reading import Fields, shown
from routing.models import MAX_TIER

_REFERENCES = re.compile(re.escape(MARK) + r"(\w+)")
_BALANCES = {
    "": "weighted",
    "simple-shuffle": "weighted",
    "least-busy": "least_in_flight",
    "latency-based-routing": "latency",
    "cost-based-routing": "cheapest",
}
_TEAM = "litellm"
_FALLBACKS = (("context_window_fallbacks", "context_length"), ("content_policy_fallbacks", "content_policy"))
_MOST_TRIES = 3
_WHY = {
    "drop_params": "fields that cannot travel are dropped and named; a route's `losses` changes that",
    "set_verbose": "see LLM_GATEWAY_LOG_LEVEL",
    "json_logs": "logs are JSON in production",
    "database_url": "see LLM_GATEWAY_DATABASE_URL; keys, teams and spend of LiteLLM's database are not read",
    "redis_host": "see LLM_GATEWAY_REDIS_URL",
    "redis_port": "see LLM_GATEWAY_REDIS_URL",
    "redis_password": "see LLM_GATEWAY_REDIS_URL",
    "redis_url": "see LLM_GATEWAY_REDIS_URL",
    "success_callback": "see docs/telemetry.md",
    "failure_callback": "see docs/telemetry.md",
    "callbacks": "see docs/telemetry.md",
    "alerting": "see the Prometheus rules in deploy/",
    "include": "each file that it names is imported by itself",
    "environment_variables": "set them in the gateway's environment",
    "store_model_in_db": "models that LiteLLM keeps in its database are not read",
    "retry_policy": "a route's `tries` is for all failures that are worth another try",
    "allowed_fails_policy": "a breaker counts what is the provider's fault, and nothing else",
    "disable_cooldowns": "hold a provider's breaker closed: `breaker: {mode: closed}`",
    "enable_pre_call_checks": "models that are known not to take a request are left out in any case",
}


def import_litellm(document: object, draft: Draft) -> None:
    """Read a parsed config.yaml into the draft. Raises ConfigError, which names the path."""
    config = Fields(document, "")
    draft.reserve(_REFERENCES.findall(str(document)))
    reader = _Reader(config, draft)
    reader.models()
    reader.aliases()
    reader.cooldowns()
    reader.master_key()
    reader.unused()


class _Reader:
    """One configuration on its way into a draft."""

    def __init__(self, config: Fields, draft: Draft) -> None:
        self._draft = draft
        self._report = draft.report
        self._config = config
        self._router = config.fields("router_settings")
        self._settings = config.fields("litellm_settings")
        self._general = config.fields("general_settings")
        self._groups: dict[str, list[Deployment]] = {}
        # Names of entries that were left out.
        self._lost: set[str] = set()
        self._own: dict[str, list[dict[str, Any]]] = {}
        self._aliases: dict[str, str] = {}

    def models(self) -> None:
        """`model_list` and what holds for all of it: a route for each name that clients ask for."""
        models = Models(self._draft, credentials_of(self._config))
        for entry in self._config.each("model_list"):
            found = models.read(entry)
            if found is None:
                self._lost.add(entry.text("model_name"))
            else:
                self._groups.setdefault(found.group, []).append(found)
        for name, value in self._router.fields("model_group_alias").items():
            group = value.get("model") if isinstance(value, dict) else value
            self._aliases[name] = str(group)
        strategy = self._router.text("routing_strategy")
        balance = _BALANCES.get(strategy, "least_in_flight")
        if strategy not in _BALANCES:
            self._report.approximated.append(
                f"router_settings.routing_strategy {shown(strategy)}: the fewest calls in flight"
            )
        self._own = {
            group: targets_of(deployments, shuffled=balance == "weighted")
            for group, deployments in self._groups.items()
        }
        common = self._common(balance)
        fallbacks = self._fallbacks()
        for group, deployments in self._groups.items():
            self._limits(group, deployments)
            if deployments[0].prefixed:
                self._expand(group, common)
            else:
                self._route(group, common, fallbacks)

    def _common(self, balance: str) -> dict[str, Any]:
        """What every route says."""
        said: dict[str, Any] = {} if balance == "weighted" else {"balance": balance}
        if not self._settings.flag("cache"):
            self._settings.raw("cache_params")
            return said
        params = self._settings.fields("cache_params")
        kind, mode, ttl = params.text("type"), params.text("mode"), params.number("ttl")
        params.items()
        if "semantic" in kind:
            self._report.left_out.append(
                "litellm_settings.cache: answers to like questions are switched on by route: `semantic`"
            )
        elif mode == "default_off":
            self._report.left_out.append(
                "litellm_settings.cache: it is off unless a call asks for it; here a route decides: `cache`"
            )
        else:
            said["cache"] = {"mode": "exact"}
            if ttl:
                said["cache"]["ttl"] = min(max(int(ttl), 1), MAX_TTL_SECONDS)
            self._report.approximated.append(
                "litellm_settings.cache: on for every route, shared within a team, not between teams"
            )
        return said

    def _route(self, group: str, common: dict[str, Any], fallbacks: dict[str, list[dict[str, Any]]]) -> None:
        own = self._own[group]
        more = fallbacks.get(group, fallbacks.get("*", []))
        more = [each for each in more if each.get("after") or not same(own, each)]
        base = max(each["tier"] for each in own) + 1
        shifted = [each if each.get("after") else {**each, "tier": each["tier"] + base} for each in more]
        route = {"pattern": group, **common, "targets": own + shifted}
        if any(each["tier"] > MAX_TIER for each in shifted):
            self._report.left_out.append(f"{shown(group)}: it has more tiers than {MAX_TIER}")
            return
        self._tries(route, len(own))
        self._timeouts(route, self._groups[group])
        self._draft.routes.append(route)
        self._report.carried.append(
            f"{shown(group)}: a route with {_count(len(own), 'target')}"
            + (f" and {len(shifted)} to fall back to" if shifted else "")
        )

    def _expand(self, group: str, common: dict[str, Any]) -> None:
        """`openai/*`: names that the gateway does not cut, so each that the price list knows gets a route."""
        first = self._groups[group][0]
        said = self._draft.providers[first.provider]
        kind = said.get("kind") or PRESETS[said["preset"]].kind
        stem = first.model[:-1]
        names = [name for name in listed_names(kind) if name.startswith(stem)]
        for name in names:
            targets = [{**each, "model": name} for each in self._own[group]]
            self._draft.routes.append(
                {"pattern": group[:-1] + name[len(stem) :], **common, "targets": targets}
            )
        where = (
            f"{first.path}: clients' names begin with what the provider does not know, and it is not cut off"
        )
        if names:
            self._report.approximated.append(
                f"{where}: {_count(len(names), 'route')} for the price list's models; others need one each"
            )
        else:
            self._report.left_out.append(f"{where}: write a route for each model that they use")

    def aliases(self) -> None:
        """`model_group_alias`: the same route under another name."""
        by_pattern = {route["pattern"]: route for route in self._draft.routes}
        for alias, group in self._aliases.items():
            path = named("router_settings.model_group_alias", alias)
            if (
                group not in by_pattern
                or alias in by_pattern
                or not is_pattern(alias)
                or "*" in alias + group
            ):
                self._report.left_out.append(f"{path}: it does not name another route's name")
                continue
            self._draft.routes.append({**by_pattern[group], "pattern": alias})
            self._report.carried.append(
                f"{path}: a route like that of {shown(group)}, and listed with the models"
            )

    def cooldowns(self) -> None:
        """`allowed_fails` and `cooldown_time`: the breakers of all providers."""
        fails, seconds = self._first("allowed_fails"), self._first("cooldown_time")
        breaker: dict[str, Any] = {}
        if fails is not None:
            breaker["consecutive"] = min(int(fails) + 1, 100_000)
        if seconds:
            breaker["open"] = min(seconds, MAX_SECONDS)
            breaker["max_open"] = max(breaker["open"], 300.0)
        if not breaker:
            return
        for provider in self._draft.providers.values():
            provider["breaker"] = dict(breaker)
        self._report.approximated.append(
            "allowed_fails and cooldown_time: breakers that count failures in a row and wait longer each time"
        )

    def master_key(self) -> None:
        """`general_settings.master_key`: a key like any other, so that clients who have it go on."""
        value = self._general.text("master_key")
        if not value:
            return
        secret, path = reference(value, MARK), "general_settings.master_key"
        if not secret.name:
            try:
                check_chosen(value)
            except WeakKeyError as error:
                self._report.left_out.append(f"{path}: {error}; `keys issue` makes a new one")
                return
        said = self._draft.secret(secret, "LITELLM_MASTER_KEY", path)
        self._draft.teams.append({"name": _TEAM})
        self._draft.keys.append({"team": _TEAM, "label": "LiteLLM's master key", "value": said})
        self._report.approximated.append(
            f"{path}: a key of the team {_TEAM} that may call every model and administers nothing; it needs "
            "16 characters"
        )

    def unused(self) -> None:
        """Name what nobody has asked for."""
        for fields in (self._router, self._settings, self._general, self._config):
            for name in fields.rest():
                why = _WHY.get(name, "nothing here has that meaning")
                self._report.left_out.append(f"{fields.at(name)}: {why}")
        for name in sorted(self._lost - self._groups.keys()):
            taker = max((p for p in self._groups if p.endswith("*") and name.startswith(p[:-1])), default="")
            if taker:
                self._report.approximated.append(
                    f"{shown(name)}: its entries are left out, so the route {shown(taker)} takes its calls"
                )
        if not self._draft.routes:
            self._report.left_out.append("model_list: no entry could be carried over")

    def _first(self, name: str) -> float | None:
        """A number of the router's settings, or else of the library's."""
        router, library = self._router.number(name), self._settings.number(name)
        return library if router is None else router

    def _tries(self, route: dict[str, Any], own: int) -> None:
        retries = self._first("num_retries")
        if retries is None:
            return
        if retries >= 1 and own == 1 and len(route["targets"]) > 1:
            route["tries"] = 2
        if retries + 1 != _MOST_TRIES:
            self._report.approximated.append(
                f"num_retries {int(retries)}: a call is tried {_MOST_TRIES} times at most, other targets "
                "before the same again"
            )

    def _timeouts(self, route: dict[str, Any], deployments: Sequence[Deployment]) -> None:
        router, library = self._router.number("timeout"), self._settings.number("request_timeout")
        usual = router or library
        whole = [each.timeout or usual for each in deployments]
        stream = [
            each.stream_timeout or self._router.number("stream_timeout") or each.timeout
            for each in deployments
        ]
        said = {
            name: min(max(seconds), MAX_SECONDS)
            for name, values in (("first_byte", whole), ("first_byte_stream", stream))
            if (seconds := [value for value in values if value])
        }
        if not said:
            return
        longest = max(said.values())
        if longest > USUAL_TIMEOUTS.total:
            said["total"] = longest
        route["timeouts"] = said
        self._report.approximated.append(
            "timeouts: seconds until an answer begins, of each attempt; a route's longest "
            f"counts, {MAX_SECONDS:g} at most"
        )

    def _limits(self, group: str, deployments: Iterable[Deployment]) -> None:
        """Rpm and tpm: what goes to one provider for this model."""
        sums: dict[tuple[str, str], int] = {}
        for each in deployments:
            for kind, amount in (("requests", each.rpm), ("tokens", each.tpm)):
                if amount:
                    sums[kind, each.provider] = sums.get((kind, each.provider), 0) + amount
        for (kind, provider), amount in sums.items():
            self._draft.limits.append({"kind": kind, "amount": amount, "model": group, "provider": provider})
        if sums:
            self._report.approximated.append(
                f"{shown(group)}: rpm and tpm limit a model at a provider; the file's `limits` stand for "
                "all that everybody has, so those that are there already go"
            )

    def _fallbacks(self) -> dict[str, list[dict[str, Any]]]:
        """Group to targets beyond its own; "*": of groups that have none."""
        found: dict[str, list[dict[str, Any]]] = {}
        defaults = self._settings.listing("default_fallbacks") or self._router.listing("default_fallbacks")
        general = self._pairs("fallbacks")
        if defaults:
            general.append(("*", defaults))
        for group, names in general:
            self._add(found, group, names, "")
        for setting, failure in _FALLBACKS:
            for group, names in self._pairs(setting):
                if group not in found and "*" in found:
                    found[group] = list(found["*"])
                self._add(found, group, names, failure)
        return found

    def _pairs(self, setting: str) -> list[tuple[str, list[Any]]]:
        """[{a: [b, c]}] as pairs, of the router's settings or else of the library's."""
        router = list(self._router.each(setting))
        library = list(self._settings.each(setting))
        found = []
        for fields in router or library:
            found += [(name, fields.listing(name)) for name, _ in fields.items()]
        return found

    def _add(
        self, found: dict[str, list[dict[str, Any]]], group: str, names: list[Any], failure: str
    ) -> None:
        into = found.setdefault(group, [])
        for name in names:
            targets = self._of(name) if isinstance(name, str) else []
            if not targets or (group != "*" and group not in self._groups):
                self._report.left_out.append(
                    f"fallback of {shown(group)} to {shown(name) if isinstance(name, str) else 'a mapping'}: "
                    "one of them has no route"
                )
                continue
            base = max((each["tier"] for each in into if not each.get("after")), default=-1) + 1
            for target in targets:
                new = {**target, "after": [failure]} if failure else {**target, "tier": target["tier"] + base}
                if not same(into, new):
                    into.append(new)

    def _of(self, name: str) -> list[dict[str, Any]]:
        """The targets that a call of this name has."""
        group = self._aliases.get(name, name)
        if group in self._own and "*" not in group:
            return self._own[group]
        if group in self._lost:
            return []
        for pattern in sorted(self._own, key=len, reverse=True):
            if pattern.endswith("*") and group.startswith(pattern[:-1]):
                first = self._groups[pattern][0]
                rest = group[len(pattern) - 1 :]
                model = first.model[:-1] + rest if first.model.endswith("*") else first.model
                return [{**target, "model": model} for target in self._own[pattern]]
        return []


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
