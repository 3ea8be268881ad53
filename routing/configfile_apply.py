"""Brings the tables to what a configuration document names, and touches nothing that it does not name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction
from msgspec import UNSET

from accounts.issuing import known, mark
from accounts.keys import KeyHasher, WeakKeyError, check_chosen
from accounts.models import ApiKey, Budget, Limit, Team
from providers.crypto import Vault, VaultError, last4
from providers.kinds import KINDS
from providers.models import CatalogueModel, Credential, Provider
from routing.configfile import (
    BreakerDoc,
    ConfigError,
    CredentialDoc,
    KeyDoc,
    ModelDoc,
    Parsed,
    ProviderDoc,
    RouteDoc,
    TargetDoc,
    TeamDoc,
    TimeoutsDoc,
    secret_of,
    with_preset,
)
from routing.configfile_allowances import bring_allowances
from routing.models import Route, Target, check_route
from routing.revisions import Change, hold, publish

# How a model's field is called in the document, for error messages.
_WORDS = {
    **{f"{name}_timeout": f"timeouts.{name}" for name in TimeoutsDoc.__struct_fields__},
    "input_price": "prices.input",
    "output_price": "prices.output",
    "cache_read_price": "prices.cache_read",
    "cache_write_price": "prices.cache_write",
    "upstream_model": "model",
    "queue_seconds": "queue.seconds",
    "queue_limit": "queue.limit",
    **{f"breaker_{name}": f"breaker.{name}" for name in BreakerDoc.__struct_fields__},
}


@dataclass(frozen=True, slots=True)
class Means:
    """What applying needs besides the document: the vault, the key hasher, and the environment for
    `env:NAME`."""

    vault: Vault
    hasher: KeyHasher
    environ: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was changed (or would be), what could not be done without a secret, and the revision that was
    published (None: nothing changed, or a dry run)."""

    changes: list[Change]
    notes: list[str]
    revision: int | None = None


@dataclass(slots=True)
class Run:
    """What an application has come to so far."""

    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def apply(document: Parsed, means: Means, *, author: str, reason: str) -> Outcome:
    """Apply in one transaction and publish one revision; nothing is written when a problem is found.
    Raises ConfigError with every problem."""
    with transaction.atomic():
        hold()
        run = bring(document, means)
        if not run.changes:
            return Outcome([], run.notes)
        return Outcome(run.changes, run.notes, publish(author, reason, run.changes))


def bring(document: Parsed, means: Means) -> Run:
    """Apply within the caller's transaction, which publishes. Raises ConfigError; then roll back."""
    applier = _Applier(means)
    for index, team in enumerate(document.teams):
        applier.team(team, f"teams[{index}]")
    for name, provider in document.providers.items():
        applier.provider(name, provider)
    for index, model in enumerate(document.models):
        applier.model(model, f"models[{index}]")
    for index, route in enumerate(document.routes):
        applier.route(route, f"routes[{index}]")
    if document.default_provider is not None and not any(r.pattern == "*" for r in document.routes):
        target = TargetDoc(provider=document.default_provider)
        applier.route(RouteDoc(pattern="*", name="default", targets=[target]), "providers.default")
    keys = [applier.key(key, f"keys[{index}]") for index, key in enumerate(document.keys)]
    bring_allowances(document, keys, applier)
    if applier.run.problems:
        raise ConfigError(applier.run.problems)
    return applier.run


class _Applier:
    """One application. Problems are gathered, so that a document is corrected in one go."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self.run = Run()
        # Providers and teams that the document names and that were refused: who names them has no fault.
        self._refused: set[tuple[type[models.Model], str]] = set()

    def save(self, row: models.Model, values: Mapping[str, Any], path: str) -> bool:
        """Set the named fields and save when one differs or the row is new. False: a problem was found."""
        new = row._state.adding
        fields = {
            name: [None if new else _plain(getattr(row, name)), _plain(value)]
            for name, value in values.items()
            if value is not UNSET and (new or getattr(row, name) != value)
        }
        for name in fields:
            setattr(row, name, values[name])
        if not new and not fields:
            return True
        try:
            row.full_clean()
        except ValidationError as error:
            self._problem(error, path)
            return False
        row.save()
        self._change(row, "added" if new else "changed", fields)
        return True

    def remove(self, row: models.Model) -> None:
        """Delete a row that the document's list no longer has."""
        self._change(row, "removed", {})
        row.delete()

    def complain(self, words: str) -> None:
        """Something that keeps the document from being applied."""
        self.run.problems.append(words)

    def team(self, doc: TeamDoc, path: str) -> None:
        row = Team.objects.filter(name=doc.name).first() or Team(name=doc.name)
        kept = {} if doc.capture is UNSET else doc.capture.values()
        if not self.save(row, {"priority": doc.priority, "batches": doc.batches, **kept}, path):
            self._refused.add((Team, doc.name))

    def _named_team(self, name: str, path: str) -> Team | None:
        """The team of this name; None is a problem, which has been written down."""
        found = Team.objects.filter(name=name).first()
        if found is None and (Team, name) not in self._refused:
            self.run.problems.append(f"{path}.team: no team is named {name!r}")
        return found

    def provider(self, name: str, doc: ProviderDoc) -> None:
        path = f"providers.{name}"
        try:
            doc = with_preset(doc, path)
        except ConfigError as error:
            self.run.problems += error.problems
            self._refused.add((Provider, name))
            return
        row = Provider.objects.filter(name=name).first() or Provider(name=name)
        kind = doc.kind if doc.kind is not UNSET else (row.kind or name)
        if kind not in KINDS:
            self.run.problems.append(f"{path}.kind: {kind!r} is none of {', '.join(KINDS)}")
            self._refused.add((Provider, name))
            return
        values: dict[str, Any] = {
            "kind": kind,
            "base_url": doc.base_url if doc.base_url is UNSET else doc.base_url.rstrip("/"),
            "allow_private_addresses": doc.allow_private_addresses,
            "enabled": doc.enabled,
            **{f"{name}_timeout": getattr(doc.timeouts, name) for name in doc.timeouts.__struct_fields__},
            **{f"breaker_{name}": getattr(doc.breaker, name) for name in doc.breaker.__struct_fields__},
        }
        if doc.base_url is not UNSET and row.base_url != values["base_url"]:
            # An address that an operator writes into a file may be on the private network, as is any
            # Ollama; unless the file says otherwise. And from now on it is the file's.
            values["managed_by_env"] = False
            if doc.allow_private_addresses is UNSET and doc.base_url:
                values["allow_private_addresses"] = True
        if not self.save(row, values, path):
            self._refused.add((Provider, name))
            return
        if doc.api_key is not UNSET:
            self._credential(row, CredentialDoc(secret=doc.api_key), f"{path}.api_key")
        for index, credential in enumerate(doc.credentials):
            self._credential(row, credential, f"{path}.credentials[{index}]")

    def _credential(self, provider: Provider, doc: CredentialDoc, path: str) -> None:
        row = Credential.objects.filter(provider=provider, label=doc.label).first()
        if doc.secret is UNSET and row is None:
            self.run.notes.append(f"{path}: skipped, a new credential needs a secret")
            return
        row = row or Credential(provider=provider, label=doc.label)
        fields: dict[str, Any] = {"enabled": doc.enabled}
        if doc.secret is not UNSET:
            fields["entered_for"] = ""
            try:
                secret = secret_of(doc.secret, self._means.environ, path)
            except ConfigError as error:
                self.run.problems += error.problems
                return
            if row._state.adding or self._opened(row) != secret:
                fields["last4"] = last4(secret)
                fields["sealed"] = self._means.vault.seal(secret, provider.pk)
                fields["managed_by_env"] = False
        self.save(row, fields, path)

    def _opened(self, row: Credential) -> str | None:
        try:
            return self._means.vault.open(row.sealed, row.provider_id)
        except VaultError:
            return None

    def model(self, doc: ModelDoc, path: str) -> None:
        row = CatalogueModel.objects.filter(kind=doc.kind, name=doc.name).first()
        values: dict[str, Any] = {
            "context_window": doc.context_window,
            "max_output_tokens": doc.max_output_tokens,
            "capabilities": doc.capabilities,
            "overridden": True,
            **{f"{name}_price": _money(getattr(doc.prices, name)) for name in doc.prices.__struct_fields__},
        }
        self.save(row or CatalogueModel(kind=doc.kind, name=doc.name), values, path)

    def route(self, doc: RouteDoc, path: str) -> None:
        team = None if doc.team is None else self._named_team(doc.team, path)
        if doc.team is not None and team is None:
            return
        row = self._route_row(doc, team)
        values: dict[str, Any] = {
            "pattern": doc.pattern,
            "priority": doc.priority,
            "team": team,
            "losses": doc.losses,
            "balance": doc.balance,
            "affinity": doc.affinity,
            "integrity": doc.integrity,
            "on_disconnect": doc.on_disconnect,
            "tries": doc.tries,
            "late_fallback": doc.late_fallback,
            "enabled": doc.enabled,
            **{f"queue_{name}": getattr(doc.queue, name) for name in doc.queue.__struct_fields__},
            **doc.cache.columns(),
            **doc.semantic.columns(),
            **{f"{name}_timeout": getattr(doc.timeouts, name) for name in doc.timeouts.__struct_fields__},
        }
        if row._state.adding and doc.targets is UNSET:
            self.run.problems.append(f"{path}.targets: a new route needs targets")
            return
        wanted = None if doc.targets is UNSET else self._wanted(doc.targets, path)
        if not self.save(row, values, path) or (wanted is None and doc.targets is not UNSET):
            return
        if wanted is not None:
            self._targets(row, wanted, path)
        if row.enabled:
            try:
                check_route(row.targets.all())
            except ValidationError as error:
                self._problem(error, f"{path}.targets")

    def _route_row(self, doc: RouteDoc, team: Team | None) -> Route:
        """The route of this name; where the document gives none, also the one in the same place."""
        found = Route.objects.filter(name=doc.identity).first()
        if found is None and doc.name is UNSET:
            priority = 0 if doc.priority is UNSET else doc.priority
            found = Route.objects.filter(pattern=doc.pattern, team=team, priority=priority).first()
        return found or Route(name=doc.identity)

    def _wanted(self, docs: Iterable[TargetDoc], path: str) -> list[Target] | None:
        """Targets without a route; None where one is a problem, which has been written down."""
        known = {provider.name: provider for provider in Provider.objects.all()}
        wanted: list[Target] = []
        unknown = False
        for index, doc in enumerate(docs):
            provider = known.get(doc.provider)
            if provider is None:
                unknown = True
                if (Provider, doc.provider) not in self._refused:
                    where = f"{path}.targets[{index}].provider" if path != "providers.default" else path
                    self.run.problems.append(f"{where}: no provider is named {doc.provider!r}")
                continue
            wanted.append(
                Target(
                    provider=provider,
                    upstream_model=doc.model,
                    weight=doc.weight,
                    tier=doc.tier,
                    body_patch=doc.body_patch,
                    after=doc.after,
                    max_in_flight=doc.max_in_flight,
                    enabled=doc.enabled,
                )
            )
        return None if unknown else wanted

    def _targets(self, route: Route, wanted: list[Target], path: str) -> None:
        present = list(route.targets.all())
        # Each wanted target takes over a present one of the same place, so that a target keeps its id.
        spare = {id(target): target for target in present}
        for index, new in enumerate(wanted):
            place = (new.provider_id, new.upstream_model, new.tier)
            old = next(
                (t for t in spare.values() if (t.provider_id, t.upstream_model, t.tier) == place),
                Target(route=route, provider=new.provider, upstream_model=new.upstream_model, tier=new.tier),
            )
            spare.pop(id(old), None)
            names = ("weight", "body_patch", "after", "max_in_flight", "enabled")
            self.save(old, {name: getattr(new, name) for name in names}, f"{path}.targets[{index}]")
        for target in spare.values():
            self.remove(target)
        if route.managed_by_env and [t.provider_id for t in present] != [t.provider_id for t in wanted]:
            self.save(route, {"managed_by_env": False}, path)

    def key(self, doc: KeyDoc, path: str) -> ApiKey | None:
        """The key's row; None where there is none."""
        team = self._named_team(doc.team, path)
        if team is None:
            return None
        values: dict[str, Any] = {
            "label": doc.label,
            "allowed_models": doc.allowed_models,
            "priority": doc.priority,
        }
        expires = doc.expires_at
        if expires is not UNSET:
            naive = expires is not None and expires.tzinfo is None
            values["expires_at"] = expires.replace(tzinfo=UTC) if expires is not None and naive else expires
        row = self._key_row(doc, path)
        if row is None or not self.save(row, {**values, "team": team}, path):
            return None
        return row

    def _key_row(self, doc: KeyDoc, path: str) -> ApiKey | None:
        if doc.value is not UNSET:
            try:
                value = check_chosen(secret_of(doc.value, self._means.environ, f"{path}.value"))
            except WeakKeyError as error:
                self.run.problems.append(f"{path}.value: {error}")
                return None
            except ConfigError as error:
                self.run.problems += error.problems
                return None
            hasher = self._means.hasher
            return known(value, hasher) or mark(ApiKey(), value, hasher)
        if doc.prefix is UNSET:
            self.run.problems.append(f"{path}: a key needs a value, or the prefix of an existing key")
            return None
        found = ApiKey.objects.filter(prefix=doc.prefix).first()
        if found is None:
            self.run.notes.append(f"{path}: skipped, no key begins with {doc.prefix} and no value is given")
        return found

    def _problem(self, error: ValidationError, path: str) -> None:
        by_field = error.message_dict if hasattr(error, "error_dict") else {"__all__": error.messages}
        for name, messages in by_field.items():
            where = path if name == "__all__" else f"{path}.{_WORDS.get(name, name)}"
            self.run.problems += [f"{where}: {message}" for message in messages]

    def _change(self, row: models.Model, action: str, fields: Mapping[str, Any]) -> None:
        shown = {
            name: value for name, value in fields.items() if name not in ("sealed", "last4", "entered_for")
        }
        if "sealed" in fields:
            shown["replaced"] = ["secret"]
        name = f"{row._meta.verbose_name} {row}"
        if isinstance(row, Target):
            name += f" of {row.route}"
        elif isinstance(row, Credential):
            name += f" of {row.provider}"
        elif isinstance(row, (Limit, Budget)):
            name += f" of {row.whose}"
        self.run.changes.append({"object": name, "action": action, "fields": shown})


def _money(value: Any) -> Any:
    return Decimal(str(value)).quantize(Decimal("0.000001")) if isinstance(value, float) else value


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    return value if value is None or isinstance(value, (bool, int, float, str, list, dict)) else str(value)
