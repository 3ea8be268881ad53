"""The declarative configuration document: its shape, how it is read, and how it says where it is wrong."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import yaml
from msgspec import UNSET, Meta, Struct, UnsetType

from providers.presets import PRESETS
from routing.allowances import LimitKind, Period, Unit
from routing.caching import (
    MAX_ENTRY_BYTES,
    MAX_TEMPERATURE,
    MAX_TTL_SECONDS,
    MIN_ENTRY_BYTES,
    CacheMode,
    CacheScope,
)
from routing.semantic import (
    MAX_SECONDS,
    MIN_SECONDS,
    MIN_THRESHOLD,
    ContextRule,
    Guard,
    SemanticMode,
)
from routing.snapshot import (
    Affinity,
    Balance,
    BreakerMode,
    FailureClass,
    Integrity,
    Losses,
    OnDisconnect,
    Priority,
)
from routing.yaml_bounds import Loader, check_bounds

Text = Annotated[str, Meta(min_length=1)]
Whole = Annotated[int, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
Money = Annotated[float, Meta(ge=0)]
Document = TypeVar("Document", bound=Struct)

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")

# Where an existing object is named, a field that is not stays as it is; a new object gets the default.


class TimeoutsDoc(Struct, forbid_unknown_fields=True):
    """Seconds."""

    connect: Seconds | UnsetType = UNSET
    first_byte: Seconds | UnsetType = UNSET
    first_byte_stream: Seconds | UnsetType = UNSET
    idle: Seconds | UnsetType = UNSET
    total: Seconds | UnsetType = UNSET
    client_stall: Seconds | UnsetType = UNSET


class BreakerDoc(Struct, forbid_unknown_fields=True):
    """When a provider's targets are left alone; durations in seconds."""

    mode: BreakerMode | UnsetType = UNSET
    consecutive: Count | UnsetType = UNSET
    ratio: Annotated[float, Meta(gt=0, le=1)] | UnsetType = UNSET
    minimum: Count | UnsetType = UNSET
    window: Seconds | UnsetType = UNSET
    open: Seconds | UnsetType = UNSET
    max_open: Seconds | UnsetType = UNSET


class OwnTimeoutsDoc(Struct, forbid_unknown_fields=True):
    """Seconds; null: the provider's."""

    connect: Seconds | UnsetType | None = UNSET
    first_byte: Seconds | UnsetType | None = UNSET
    first_byte_stream: Seconds | UnsetType | None = UNSET
    idle: Seconds | UnsetType | None = UNSET
    total: Seconds | UnsetType | None = UNSET
    client_stall: Seconds | UnsetType | None = UNSET


class QueueDoc(Struct, forbid_unknown_fields=True):
    """Who waits while all targets are at their limits: how many, and how long."""

    seconds: Annotated[float, Meta(ge=0)] | UnsetType = UNSET
    limit: Whole | UnsetType = UNSET


class CacheDoc(Struct, forbid_unknown_fields=True):
    """Whether answers are kept, and which; `ttl` in seconds."""

    mode: CacheMode | UnsetType = UNSET
    ttl: Annotated[int, Meta(ge=1, le=MAX_TTL_SECONDS)] | UnsetType = UNSET
    scope: CacheScope | UnsetType = UNSET
    max_bytes: Annotated[int, Meta(ge=MIN_ENTRY_BYTES, le=MAX_ENTRY_BYTES)] | UnsetType = UNSET
    tools: bool | UnsetType = UNSET
    temperature: Annotated[float, Meta(ge=0, le=MAX_TEMPERATURE)] | UnsetType = UNSET

    def columns(self) -> dict[str, Any]:
        """A route's columns that it speaks of, with what it says."""
        return {
            "cache" if name == "mode" else f"cache_{name}": getattr(self, name)
            for name in self.__struct_fields__
        }


class SemanticDoc(Struct, forbid_unknown_fields=True):
    """Whether answers are given to like questions, and to how like ones; `embedder`: "local" or a model."""

    mode: SemanticMode | UnsetType = UNSET
    threshold: Annotated[float, Meta(ge=MIN_THRESHOLD, le=1)] | UnsetType = UNSET
    embedder: Text | UnsetType = UNSET
    guard: Guard | UnsetType = UNSET
    context: ContextRule | UnsetType = UNSET
    seconds: Annotated[float, Meta(ge=MIN_SECONDS, le=MAX_SECONDS)] | UnsetType = UNSET
    prompts: bool | UnsetType = UNSET

    def columns(self) -> dict[str, Any]:
        """A route's columns that it speaks of, with what it says."""
        return {
            "semantic" if name == "mode" else f"semantic_{name}": getattr(self, name)
            for name in self.__struct_fields__
        }


class CredentialDoc(Struct, forbid_unknown_fields=True):
    """`secret`: the secret itself or `env:NAME`. `last4` is written by an export and only read by people."""

    label: Text = "default"
    secret: Text | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    last4: str | UnsetType = UNSET


class ProviderDoc(Struct, forbid_unknown_fields=True):
    """`kind` may be left out where the provider is named like one, or where `preset` says it: what a preset
    knows fills in for what is not said. `api_key` is short for one credential labelled `default`."""

    preset: Text | UnsetType = UNSET
    kind: Text | UnsetType = UNSET
    base_url: str | UnsetType = UNSET
    api_key: Text | UnsetType = UNSET
    credentials: list[CredentialDoc] = []
    timeouts: TimeoutsDoc = msgspec.field(default_factory=TimeoutsDoc)
    breaker: BreakerDoc = msgspec.field(default_factory=BreakerDoc)
    allow_private_addresses: bool | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class PricesDoc(Struct, forbid_unknown_fields=True):
    """US dollars per million tokens; null: unknown."""

    input: Money | UnsetType | None = UNSET
    output: Money | UnsetType | None = UNSET
    cache_read: Money | UnsetType | None = UNSET
    cache_write: Money | UnsetType | None = UNSET


class ModelDoc(Struct, forbid_unknown_fields=True):
    """A row of the catalogue that overrides the price list's."""

    kind: Text
    name: Text
    context_window: Whole | UnsetType | None = UNSET
    max_output_tokens: Whole | UnsetType | None = UNSET
    capabilities: list[Text] | UnsetType = UNSET
    prices: PricesDoc = msgspec.field(default_factory=PricesDoc)


class TargetDoc(Struct, forbid_unknown_fields=True):
    """One target. A route's list of targets is replaced as a whole, so these have plain defaults."""

    provider: Text
    model: str = ""
    weight: Whole = 1
    tier: Whole = 0
    body_patch: dict[str, Any] = {}
    after: list[FailureClass] = []
    max_in_flight: Count | None = None
    enabled: bool = True


class RouteDoc(Struct, forbid_unknown_fields=True):
    """A route, known by its name, which is the pattern (and `@team` for a team's own) unless given."""

    pattern: Text
    name: Text | UnsetType = UNSET
    targets: list[TargetDoc] | UnsetType = UNSET
    priority: int | UnsetType = UNSET
    team: Text | None = None
    losses: Losses | UnsetType = UNSET
    balance: Balance | UnsetType = UNSET
    affinity: Affinity | UnsetType = UNSET
    integrity: Integrity | UnsetType = UNSET
    on_disconnect: OnDisconnect | UnsetType = UNSET
    tries: Annotated[int, Meta(ge=1, le=3)] | UnsetType = UNSET
    late_fallback: bool | UnsetType = UNSET
    queue: QueueDoc = msgspec.field(default_factory=QueueDoc)
    timeouts: OwnTimeoutsDoc = msgspec.field(default_factory=OwnTimeoutsDoc)
    cache: CacheDoc = msgspec.field(default_factory=CacheDoc)
    semantic: SemanticDoc = msgspec.field(default_factory=SemanticDoc)
    enabled: bool | UnsetType = UNSET

    @property
    def identity(self) -> str:
        if self.name is not UNSET:
            return self.name
        return self.pattern if self.team is None else f"{self.pattern}@{self.team}"


class LimitDoc(Struct, forbid_unknown_fields=True):
    """A limit. An owner's list is replaced as a whole, so these have plain defaults."""

    kind: LimitKind
    amount: Annotated[int, Meta(ge=1)]
    per: Literal["minute", "hour", "day"] = "minute"
    model: str = ""
    provider: str = ""
    wait_seconds: Annotated[float, Meta(ge=0, le=600)] = 0
    enabled: bool = True


class BudgetDoc(Struct, forbid_unknown_fields=True):
    """A budget: US dollars or tokens. An owner's list is replaced as a whole."""

    amount: Annotated[float, Meta(gt=0, le=9e12)]
    unit: Unit = "usd"
    period: Period = "month"
    hard: bool = True
    webhook_url: str = ""
    enabled: bool = True


class CaptureDoc(Struct, forbid_unknown_fields=True):
    """What a team has captured of its prompts and answers."""

    mode: Literal["off", "all", "errors", "share"]
    share: int | UnsetType = UNSET
    days: int | UnsetType = UNSET
    kilobytes: int | UnsetType = UNSET
    patterns: list[str] | UnsetType = UNSET

    def values(self) -> dict[str, Any]:
        """As a team's columns."""
        columns = {name: getattr(self, name) for name in self.__struct_fields__ if name != "mode"}
        return {"capture": self.mode, **{f"capture_{name}": value for name, value in columns.items()}}


class TeamDoc(Struct, forbid_unknown_fields=True):
    """A team, known by its name."""

    name: Text
    priority: Priority | UnsetType = UNSET
    batches: bool | UnsetType = UNSET
    capture: CaptureDoc | UnsetType = UNSET
    limits: list[LimitDoc] | UnsetType = UNSET
    budgets: list[BudgetDoc] | UnsetType = UNSET


class KeyDoc(Struct, forbid_unknown_fields=True):
    """A gateway key: `value` is the key itself or `env:NAME`, or `prefix` names one that exists."""

    team: Text
    value: Text | UnsetType = UNSET
    prefix: Text | UnsetType = UNSET
    label: str | UnsetType = UNSET
    allowed_models: list[Text] | UnsetType = UNSET
    expires_at: dt.datetime | UnsetType | None = UNSET
    priority: Priority | Literal[""] | UnsetType = UNSET
    limits: list[LimitDoc] | UnsetType = UNSET
    budgets: list[BudgetDoc] | UnsetType = UNSET


class ConfigDoc(Struct, forbid_unknown_fields=True):
    """The whole document. `server` belongs to the settings and is not looked at here. `limits` and `budgets`
    are everybody's together."""

    server: Any = None
    providers: dict[str, Any] = {}
    models: list[ModelDoc] = []
    routes: list[RouteDoc] = []
    teams: list[TeamDoc] = []
    keys: list[KeyDoc] = []
    limits: list[LimitDoc] | UnsetType = UNSET
    budgets: list[BudgetDoc] | UnsetType = UNSET


class Parsed(Struct):
    """A document that has the right shape, with the providers told apart from the default's name."""

    providers: dict[str, ProviderDoc]
    default_provider: str | None
    models: list[ModelDoc]
    routes: list[RouteDoc]
    teams: list[TeamDoc]
    keys: list[KeyDoc]
    limits: list[LimitDoc] | UnsetType = UNSET
    budgets: list[BudgetDoc] | UnsetType = UNSET


class ConfigError(Exception):
    """The document cannot be applied. `problems`: one line each, with the path in the document."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load_yaml(text: str) -> Any:
    """One YAML document as plain data. A key that is written twice is an error. Raises ConfigError."""
    try:
        check_bounds(text)
        return yaml.load(text, Loader=Loader)  # noqa: S506 - a SafeLoader that also refuses repeated keys
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError([f"{where}not valid YAML: {error.problem}"]) from None
    except (yaml.YAMLError, ValueError):
        raise ConfigError(["not valid YAML"]) from None


def parse(document: object) -> Parsed:
    """Check the shape of a document that YAML or JSON gave. Raises ConfigError that names the path."""
    if not _storable(document):
        raise ConfigError(["a text holds a NUL character or half of a surrogate pair"])
    config = _convert({} if document is None else document, ConfigDoc, "")
    default: str | None = None
    providers: dict[str, ProviderDoc] = {}
    for name, value in config.providers.items():
        if name == "default" and isinstance(value, str):
            default = value
        else:
            providers[name] = _convert({} if value is None else value, ProviderDoc, f"providers.{name}")
    return Parsed(
        providers=providers,
        default_provider=default,
        models=config.models,
        routes=config.routes,
        teams=config.teams,
        keys=config.keys,
        limits=config.limits,
        budgets=config.budgets,
    )


def with_preset(doc: ProviderDoc, path: str) -> ProviderDoc:
    """`doc` with what its preset knows in place of what it does not say. Raises ConfigError."""
    if doc.preset is UNSET:
        return doc
    preset = PRESETS.get(doc.preset)
    if preset is None:
        raise ConfigError([f"{path}.preset: {doc.preset!r} is none of {', '.join(PRESETS)}"])
    return msgspec.structs.replace(
        doc,
        kind=preset.kind if doc.kind is UNSET else doc.kind,
        base_url=(preset.base_url or UNSET) if doc.base_url is UNSET else doc.base_url,
        allow_private_addresses=(
            preset.private if doc.allow_private_addresses is UNSET else doc.allow_private_addresses
        ),
    )


def secret_of(value: str, environ: Mapping[str, str], path: str) -> str:
    """A secret that a document gives: itself, or `env:NAME` from the environment. Raises ConfigError."""
    if not value.startswith("env:"):
        return value
    found = environ.get(value[4:], "")
    if not found:
        raise ConfigError([f"{path}: the environment has no {value[4:] or 'name'}"])
    return found


def _storable(value: object) -> bool:
    """False for a text that no database takes."""
    if isinstance(value, str):
        return not _UNSTORABLE.search(value)
    if isinstance(value, Mapping):
        return all(_storable(key) and _storable(each) for key, each in value.items())
    return not isinstance(value, list) or all(map(_storable, value))


def _convert(value: object, kind: type[Document], path: str) -> Document:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        words, _, where = str(error).partition(" - at `")
        inner = re.sub(r"\A(key in )?\$", "", where.rstrip("`")).lstrip("." if not path else "")
        full = path + inner
        raise ConfigError([f"{full}: {words}" if full else words]) from None
