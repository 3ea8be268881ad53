"""Channels of one-api and of new-api into this gateway's document."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from routing.configfile import ConfigError
from routing.imports.draft import Draft, Secret, is_model, named
from routing.imports.reading import Fields, shown
from routing.imports.services import NEW_API, ONE_API, Channel, channel_address
from routing.models import MAX_WEIGHT, RESERVED_FIELDS

# The group whose users see what no other group's channels add.
_DEFAULT = "default"
_ENABLED = 1
_LONGEST_TEAM = 100
# Of a route, which is called MODEL@TEAM.
_LONGEST_ROUTE = 200
# Facts of the moment, and what only their pages show.
_NO_SETTINGS = (
    "id",
    "created_time",
    "test_time",
    "response_time",
    "balance",
    "balance_updated_time",
    "used_quota",
    "test_model",
    "other_info",
    "remark",
    "tag",
    "need_reconcile",
)
_WHY = {
    "auto_ban": "breakers leave a failing target alone for a while, and try it again",
    "status_code_mapping": "statuses are the provider's, or say whose fault it is",
    "header_override": "headers of one's own are not sent",
    "openai_organization": "headers of one's own are not sent: a project's key says as much",
    "system_prompt": "prompts are not changed",
    "other": "it says the API version of Azure, whose v1 API has none, or what only other services need",
    "config": "it says the API version of Azure, whose v1 API has none, or what only other services need",
    "setting": "proxies and rewriting of requests are not carried over",
    "settings": "proxies and rewriting of requests are not carried over",
}


@dataclass(slots=True)
class _Offer:
    """What one channel offers for one model."""

    provider: str
    model: str
    priority: int
    weight: int
    enabled: bool
    patch: dict[str, Any] = field(default_factory=dict)


def import_one_api(document: object, draft: Draft) -> None:
    """Read one-api's channels into the draft. Raises ConfigError."""
    channels = list(_channels(document))
    if any("channel_info" in each for each in channels):
        raise ConfigError(["these are channels of new-api, whose types have other numbers: import new-api"])
    _import(channels, ONE_API, draft)


def import_new_api(document: object, draft: Draft) -> None:
    """Read new-api's channels into the draft. Raises ConfigError."""
    _import(list(_channels(document)), NEW_API, draft)


def _channels(document: object) -> Iterable[dict[str, Any]]:
    """The rows, in whichever wrapping: a list, an answer of the API, or a table's export."""
    for _ in range(4):
        if not isinstance(document, dict):
            break
        document = next(
            (document[name] for name in ("data", "items", "channels", "rows") if name in document), None
        )
    if isinstance(document, list) and document:
        tables = [each for each in document if isinstance(each, dict) and each.get("type") == "table"]
        if tables:
            document = next((each.get("data") for each in tables if each.get("name") == "channels"), None)
    if not isinstance(document, list) or not all(isinstance(each, dict) for each in document):
        raise ConfigError(["expected a list of channels, or an object whose `data` is one"])
    return document


def _import(channels: list[dict[str, Any]], types: Mapping[int, Channel], draft: Draft) -> None:
    reader = _Reader(types, draft)
    for index, row in enumerate(channels):
        reader.read(Fields(row, f"channels[{index}]"))
    reader.routes()


class _Reader:
    """Channels on their way into a draft."""

    def __init__(self, types: Mapping[int, Channel], draft: Draft) -> None:
        self._types = types
        self._draft = draft
        self._report = draft.report
        # Group, then model as clients name it.
        self._offers: dict[str, dict[str, list[_Offer]]] = {}

    def read(self, row: Fields) -> None:
        """One channel."""
        path = named(row.path, row.text("name"))
        channel = self._types.get(row.whole("type") or 0)
        address = None if channel is None else channel_address(channel, row.text("base_url"))
        enabled = row.whole("status") in (None, _ENABLED)
        secrets = _keys(row, path, self._draft)
        if channel is None or address is None:
            why = "it has no base_url" if channel else "this gateway does not speak to channels of this type"
            self._report.left_out.append(f"{path}: type {row.whole('type')}: {why}")
            return
        if not secrets and channel.name not in ("Ollama", "Custom", "OpenAI-compatible", "Xinference"):
            self._report.to_do.append(f"{path}: it has no key: add a credential to its provider")
        provider = self._draft.provider(address, secrets, path, enabled=enabled)
        if provider is None:
            return
        if channel.suffix not in ("", "/v1"):
            self._report.approximated.append(
                f"{path}: {channel.name} is asked in OpenAI's dialect, {shown(address.base_url)}"
            )
        if not enabled:
            self._report.carried.append(f"{path}: it is switched off, and so is provider {provider}")
        self._models(row, channel, _Offer(provider, "", 0, 1, enabled), path)
        self._unused(row, path)

    def _models(self, row: Fields, channel: Channel, usual: _Offer, path: str) -> None:
        mapping = _mapping(row)
        patch = self._patch(row, path)
        priority, weight = row.integer("priority"), row.whole("weight") or 0
        groups = _split(row.text("group")) or [_DEFAULT]
        names = _split(row.text("models"))
        for name in names:
            model = _mapped(name, mapping)
            if channel.preset == "azure" and self._types is ONE_API:
                model = model.replace(".", "")
            if not is_model(name) or not is_model(model):
                self._report.left_out.append(f"{path}: {shown(name)} is no model's name")
                continue
            offer = _Offer(usual.provider, model, priority, weight, usual.enabled, patch)
            for group in groups:
                self._offers.setdefault(group, {}).setdefault(name, []).append(offer)
        if not names:
            self._report.left_out.append(f"{path}: it has no models")
        else:
            self._report.carried.append(f"{path}: provider {usual.provider}, {len(names)} models")
        if channel.preset == "azure":
            self._report.approximated.append(
                f"{path}: check the deployments' names"
                + (
                    ": dots are left out of them, as one-api does"
                    if self._types is ONE_API
                    else ", dots included"
                )
            )

    def _patch(self, row: Fields, path: str) -> dict[str, Any]:
        """`param_override`, where it is plain fields."""
        text = row.raw("param_override")
        try:
            found = json.loads(text) if isinstance(text, str) and text.strip() else text
        except (ValueError, RecursionError):
            found = ["?"]
        if not found:
            return {}
        plain = isinstance(found, dict) and not (RESERVED_FIELDS | {"operations"}) & found.keys()
        if not plain or not isinstance(found, dict) or any("." in name for name in found):
            self._report.left_out.append(f"{path}: param_override: more than fields of the body to set")
            return {}
        self._report.carried.append(f"{path}: param_override as a body patch")
        return found

    def _unused(self, row: Fields, path: str) -> None:
        for name in _NO_SETTINGS:
            row.raw(name)
        for name in row.rest():
            if row.raw(name) not in ("", "{}", "null", 0, {}, [], False):
                why = _WHY.get(name, "nothing here has that meaning")
                self._report.left_out.append(f"{path}: {shown(name)}: {why}")

    def routes(self) -> None:
        """A route for each model of each group: the default group's for everybody, others' for a team."""
        for group in sorted(self._offers, key=lambda name: (name != _DEFAULT, name)):
            team = {} if group == _DEFAULT else {"team": group}
            if not group.isprintable() or len(group) > _LONGEST_TEAM:
                self._report.left_out.append(f"group {shown(group)}: it is no name for a team")
                continue
            if team:
                self._draft.teams.append({"name": group})
                self._report.approximated.append(
                    f"group {shown(group)}: a team with routes of its own; where it lacks one for a "
                    "model, the common one serves it"
                )
            for name, offers in self._offers[group].items():
                if team and len(name) + len(group) >= _LONGEST_ROUTE:
                    self._report.left_out.append(f"{shown(name)} of group {shown(group)}: a name too long")
                    continue
                self._draft.routes.append({"pattern": name, **team, "targets": _targets(offers)})
        if not self._draft.routes:
            self._report.left_out.append("no channel could be carried over")
        else:
            self._report.left_out.append(
                "users, tokens and quotas: `keys issue` makes keys; teams and keys have limits and budgets"
            )


def _targets(offers: list[_Offer]) -> list[dict[str, Any]]:
    """Tiers by falling priority; weights, where 0 is as much as the least."""
    priorities = sorted({each.priority for each in offers}, reverse=True)
    found: list[dict[str, Any]] = []
    for each in offers:
        target: dict[str, Any] = {
            "provider": each.provider,
            "model": each.model,
            "weight": min(max(each.weight, 1), MAX_WEIGHT),
            "tier": priorities.index(each.priority),
        }
        if each.patch:
            target["body_patch"] = each.patch
        if not any(
            {**other, "tier": 0, "weight": 0} == {**target, "tier": 0, "weight": 0} for other in found
        ):
            found.append(target)
    return sorted(found, key=lambda target: int(target["tier"]))


def _keys(row: Fields, path: str, draft: Draft) -> list[Secret]:
    """A channel's keys, one a line, with those that are switched off."""
    lines = [line.strip() for line in row.text("key").splitlines() if line.strip()]
    info = row.raw("channel_info")
    if isinstance(info, str) and info.strip():
        try:
            info = json.loads(info)
        except (ValueError, RecursionError):
            draft.report.left_out.append(f"{path}: channel_info is not JSON")
            info = None
    states = info.get("multi_key_status_list") if isinstance(info, dict) else None
    states = states if isinstance(states, dict) else {}
    return [
        Secret(literal=line, enabled=states.get(str(index), _ENABLED) == _ENABLED)
        for index, line in enumerate(lines)
    ]


def _mapping(row: Fields) -> dict[str, str]:
    """`model_mapping`: JSON in a text, or the object itself. Raises ConfigError."""
    value = row.raw("model_mapping")
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else {}
        except (ValueError, RecursionError):
            raise ConfigError([f"{row.at('model_mapping')}: not valid JSON"]) from None
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise ConfigError([f"{row.at('model_mapping')}: expected an object of texts"])
    return value


def _mapped(name: str, mapping: Mapping[str, str]) -> str:
    """Where a name leads, over several steps; a circle ends where it began."""
    seen = {name}
    while (following := mapping.get(name)) and following not in seen:
        name = following.strip()
        seen.add(name)
    return name


def _split(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
