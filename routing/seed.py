"""First-run set-up of the tables, and what of it keeps following the environment at every later start.

Who owns a value is written on its row (`managed_by_env`):

- On the first start everything is made: the providers, the sandbox, the routes, the catalogue, the team
  `default` and its first key, and what `config.yaml` adds.
- On every start the environment (which includes config.yaml's `providers`) sets again, where the flag is on:
  the base URL of the providers that it made, their credential labelled `environment`, and the target of the
  route `default`. A value that somebody edits loses the flag and is theirs from then on. A provider whose
  address was edited gets no key from the environment any more: it was meant for another place.
- A provider or route that somebody deleted is not made again. A credential that is deleted while the
  environment still names it comes back: disable it instead. What the environment no longer names stays
  as it is, so that a forgotten variable takes nothing away.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from msgspec import UNSET

from accounts.issuing import known, mark
from accounts.keys import KeyHasher, check_chosen, issue
from accounts.models import ApiKey, Team
from providers.catalogue import seed_catalogue
from providers.crypto import Vault, VaultError, last4
from providers.kinds import KINDS
from providers.models import Credential, Provider
from routing.approval_gate import Leave
from routing.configfile import ConfigError, Parsed, parse
from routing.configfile_apply import Means, bring
from routing.freeze import freeze_now
from routing.history import mark_what_stands
from routing.models import Route, Target
from routing.revisions import Change, hold, latest, publish

logger = logging.getLogger(__name__)

AUTHOR = "system"
DEFAULT_TEAM = "default"
DEFAULT_ROUTE = "default"
ENV_LABEL = "environment"

# Provider to the models that are its own, as their names begin. The bare names are no prefixes of others.
_ROUTES: Mapping[str, tuple[str, ...]] = {
    "openai": (
        "gpt-*",
        "chatgpt-*",
        "o1",
        "o1-*",
        "o3",
        "o3-*",
        "o4-*",
        "text-embedding-*",
        "omni-moderation-*",
        "whisper-*",
        "tts-*",
        "ft:*",
        "babbage-*",
        "davinci-*",
    ),
    "anthropic": ("claude-*",),
}


@dataclass(frozen=True, slots=True)
class ProviderSeed:
    """What the environment says of one provider; None: nothing."""

    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SeedConfig:
    """What the environment and config.yaml, merged, say to the tables.

    `providers`: openai, anthropic and ollama. `default_provider`: None where nobody chose one; then it is
    openai, or ollama where OpenAI has no key, so that a machine with a local Ollama alone answers every
    model that no route names. `document`: the whole config.yaml as plain data, None without one;
    `environ`: where its `env:NAME` look.
    """

    providers: Mapping[str, ProviderSeed]
    default_provider: str | None = None
    production: bool = False
    bootstrap_key: str | None = field(default=None, repr=False)
    document: Any = field(default=None, repr=False)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class SeedResult:
    """`first`: this start made everything. `key`: the first gateway key, only on the start that made it;
    shown once and nowhere stored. `default_provider`: where the route `default` goes (None: no such route).
    `revision`: what was published, None where nothing changed."""

    first: bool
    key: str | None = field(default=None, repr=False)
    default_provider: str | None = None
    revision: int | None = None


def seed(config: SeedConfig, vault: Vault, hasher: KeyHasher) -> SeedResult:
    """Bring the tables to `config`. Idempotent, and safe when several replicas start at once.

    Raises ConfigError where config.yaml is wrong, WeakKeyError for a weak bootstrap key.
    """
    with transaction.atomic():
        hold()
        mark_what_stands()
        if freeze_now() is not None:
            # A start must not fail, and must not edit either: the next one follows.
            logger.warning("edits are frozen: what the environment says is followed at the next start")
            return SeedResult(first=False, default_provider=_Seeder(config, vault).default_target())
        seeder = _Seeder(config, vault)
        first = latest() == 0
        key = None
        if first:
            key = seeder.everything(hasher)
        seeder.follow_environment()
        if config.bootstrap_key is not None:
            seeder.key(config.bootstrap_key, "bootstrap", hasher)
        catalogue = seed_catalogue()
        if catalogue.added or catalogue.changed:
            seeder.note("model catalogue", "changed", added=catalogue.added, changed=catalogue.changed)
        revision = None
        if seeder.changes:
            reason = "first start" if first else "start: the environment or the price list has changed"
            revision = publish(AUTHOR, reason, seeder.changes, leave=Leave())
        return SeedResult(first, key, seeder.default_target(), revision)


class _Seeder:
    """One start's work and the changes that it made."""

    def __init__(self, config: SeedConfig, vault: Vault) -> None:
        self._config = config
        self._vault = vault
        self.changes: list[Change] = []

    def note(self, what: str, action: str, **fields: Any) -> None:
        self.changes.append({"object": what, "action": action, "fields": fields})

    def everything(self, hasher: KeyHasher) -> str | None:
        """The first start. Returns the key that was made, None where config.yaml brought keys of its own or
        the environment gave one."""
        for name in self._config.providers:
            self._provider(name)
        if not self._config.production:
            self._sandbox()
        self._apply_document(hasher)
        for name, patterns in _ROUTES.items():
            for pattern in patterns:
                self._route(pattern, pattern, name, follows=False)
        self._route("*", DEFAULT_ROUTE, self._default(), follows=True)
        if self._config.bootstrap_key is not None:
            return self._config.bootstrap_key
        if ApiKey.objects.exists():
            return None
        key = issue()
        self.key(key, "first key", hasher)
        return key

    def follow_environment(self) -> None:
        """What the environment sets at every start."""
        for name, given in self._config.providers.items():
            provider = Provider.objects.filter(name=name).first()
            if provider is None:
                continue
            if not provider.managed_by_env:
                # The address is somebody's own: the environment's key was not meant for it.
                continue
            if given.base_url is not None:
                self._base_url(provider, given.base_url.rstrip("/"))
            if given.api_key is not None:
                self._credential(provider, given.api_key)
        self._follow_default()
        if self._config.production:
            for sandbox in Provider.objects.filter(kind="sandbox", enabled=True):
                sandbox.enabled = False
                sandbox.save(update_fields=["enabled"])
                self.note(f"provider {sandbox.name}", "changed", enabled=[True, False])

    def key(self, key: str, label: str, hasher: KeyHasher) -> None:
        """Make sure that this key exists, revoked or not."""
        if known(check_chosen(key), hasher) is not None:
            return
        team, _ = Team.objects.get_or_create(name=DEFAULT_TEAM)
        row = mark(ApiKey(team=team, label=label), key, hasher)
        row.save()
        self.note(f"API key {row}", "added", team=team.name)

    def default_target(self) -> str | None:
        target = Target.objects.filter(route__name=DEFAULT_ROUTE).select_related("provider").first()
        return None if target is None else target.provider.name

    def _default(self) -> str:
        """The provider of every model that no other route names."""
        if self._config.default_provider is not None:
            return self._config.default_provider
        has_key = Credential.objects.filter(provider__name="openai", enabled=True).exists()
        given = self._config.providers.get("openai", ProviderSeed()).api_key
        return "openai" if has_key or given or "ollama" not in self._config.providers else "ollama"

    def _provider(self, name: str) -> None:
        row, made = Provider.objects.get_or_create(
            name=name,
            defaults={
                "kind": name,
                "managed_by_env": True,
                # Ollama's own address is this machine's.
                "allow_private_addresses": not KINDS[name].needs_credential,
            },
        )
        if made:
            self.note(f"provider {row}", "added", kind=row.kind)

    def _sandbox(self) -> None:
        _, made = Provider.objects.get_or_create(name="sandbox", defaults={"kind": "sandbox"})
        if made:
            self.note("provider sandbox", "added", kind="sandbox")
        self._route("sandbox", "sandbox", "sandbox", follows=False)

    def _apply_document(self, hasher: KeyHasher) -> None:
        """What config.yaml says beyond the values that the settings have merged with the environment."""
        if self._config.document is None:
            return
        document = parse(self._config.document)
        means = Means(vault=self._vault, hasher=hasher, environ=self._config.environ)
        self.changes += bring(self._without_merged(document), means).changes

    def _without_merged(self, document: Parsed) -> Parsed:
        for name in self._config.providers.keys() & document.providers.keys():
            document.providers[name].base_url = UNSET
            document.providers[name].api_key = UNSET
        document.default_provider = None
        return document

    def _route(self, pattern: str, name: str, provider_name: str, *, follows: bool) -> None:
        """A common route, unless config.yaml has made one for this pattern."""
        if Route.objects.filter(pattern=pattern, team=None).exists():
            return
        provider = Provider.objects.filter(name=provider_name).first()
        if provider is None:
            if not follows:
                return
            raise ConfigError([f"providers.default: no provider is named {provider_name!r}"])
        route = Route.objects.create(name=name, pattern=pattern, managed_by_env=follows)
        Target.objects.create(route=route, provider=provider)
        self.note(f"route {name}", "added", pattern=pattern, provider=provider_name)

    def _follow_default(self) -> None:
        target = Target.objects.filter(route__name=DEFAULT_ROUTE, route__managed_by_env=True).first()
        wanted = Provider.objects.filter(name=self._default()).first()
        if target is None or target.provider_id == getattr(wanted, "pk", None):
            return
        if wanted is None:
            raise ConfigError([f"providers.default: no provider is named {self._default()!r}"])
        before = target.provider.name
        target.provider = wanted
        target.save(update_fields=["provider"])
        self.note(f"route {DEFAULT_ROUTE}", "changed", provider=[before, wanted.name])

    def _base_url(self, provider: Provider, base_url: str) -> None:
        wanted = "" if base_url == KINDS[provider.kind].base_url else base_url
        if provider.base_url == wanted:
            return
        before = provider.base_url
        provider.base_url = wanted
        # An address in the environment may be on the private network: whoever sets it runs the machine.
        provider.allow_private_addresses = provider.allow_private_addresses or bool(wanted)
        provider.full_clean()
        provider.save()
        self.note(f"provider {provider}", "changed", base_url=[before, wanted])

    def _credential(self, provider: Provider, secret: str) -> None:
        row = Credential.objects.filter(provider=provider, label=ENV_LABEL).first()
        if row is None:
            row = Credential(provider=provider, label=ENV_LABEL, managed_by_env=True)
        elif not row.managed_by_env or self._opened(row) == secret:
            return
        row.sealed = self._vault.seal(secret, provider.pk)
        row.last4 = last4(secret)
        row.save()
        self.note(f"credential of {provider}", "changed", replaced=["secret"])

    def _opened(self, row: Credential) -> str | None:
        try:
            return self._vault.open(row.sealed, row.provider_id)
        except VaultError:
            return None
