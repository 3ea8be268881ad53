"""A configuration document under construction, and the report of how it came to be."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from providers.base_urls import BaseUrlError, check_base_url
from providers.presets import CUSTOM, PLACEHOLDER, PRESETS
from routing.imports.reading import shown

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_NAME = re.compile(r"[^\s*]{1,200}\Z")
_PATTERN = re.compile(r"(?=.{1,200}\Z)([^\s*]+|[^\s*]*\*)\Z")
# What people write where a server wants no key but the client's library does.
_NO_KEYS = frozenset(
    {"", "none", "null", "empty", "na", "n/a", "fake", "fake-key", "dummy", "anything", "not-needed"}
)


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret as another file gives it: the variable `name` that holds it, or the secret itself."""

    name: str = ""
    literal: str = field(default="", repr=False)
    enabled: bool = True

    @property
    def empty(self) -> bool:
        return not self.name and self.literal.lower() in _NO_KEYS


@dataclass(frozen=True, slots=True)
class Address:
    """A service: its preset, and its base URL where that is not the preset's own."""

    preset: str
    base_url: str = ""


class Report:
    """What became of the other file, in lines of plain words. No secret is in it."""

    def __init__(self) -> None:
        self.carried: list[str] = []
        self.approximated: list[str] = []
        self.left_out: list[str] = []
        self.to_do: list[str] = []

    def lines(self) -> list[str]:
        """All of it, under headings."""
        found: list[str] = []
        for heading, entries in (
            ("Carried over", self.carried),
            ("Approximated", self.approximated),
            ("Left out", self.left_out),
            ("To do before `config apply`", self.to_do),
        ):
            if entries:
                found += [f"{heading}:", *(f"  {entry}" for entry in dict.fromkeys(entries))]
        return found


class Draft:
    """The document. `take_secrets`: secrets that the other file holds are written into it; without, it names
    a variable for each, and the report says which."""

    def __init__(self, *, take_secrets: bool = False) -> None:
        self.report = Report()
        self.take_secrets = take_secrets
        self.providers: dict[str, dict[str, Any]] = {}
        self.models: list[dict[str, Any]] = []
        self.routes: list[dict[str, Any]] = []
        self.teams: list[dict[str, Any]] = []
        self.keys: list[dict[str, Any]] = []
        self.limits: list[dict[str, Any]] = []
        self._known: dict[tuple[Address, tuple[Secret, ...], bool], str] = {}
        self._variables: set[str] = set()
        self._literals: dict[str, str] = {}

    def reserve(self, variables: Iterable[str]) -> None:
        """Variables that the other file speaks of: none of them is made up for another secret."""
        self._variables.update(variables)

    @property
    def variables(self) -> frozenset[str]:
        """Every variable that it names or that the other file speaks of."""
        return frozenset(self._variables)

    def document(self) -> dict[str, Any]:
        """As plain data, without the parts that are empty."""
        parts = ("providers", "models", "routes", "teams", "keys", "limits")
        whole = {part: getattr(self, part) for part in parts if getattr(self, part)}
        # Written and read, so that no two places share a value and YAML needs no aliases.
        document: dict[str, Any] = json.loads(json.dumps(whole))
        return document

    def provider(
        self, address: Address, secrets: list[Secret], path: str, *, enabled: bool = True
    ) -> str | None:
        """The name of the provider at this address with these secrets, which is made where there is none.
        None: it cannot be one, and the report says why."""
        secrets = [secret for secret in secrets if not secret.empty]
        known = (address, tuple(secrets), enabled)
        if known in self._known:
            return self._known[known]
        private = False
        if PLACEHOLDER in (address.base_url or PRESETS[address.preset].base_url):
            self.report.left_out.append(f"{path}: its address is an example's")
            return None
        if address.base_url:
            try:
                check_base_url(address.base_url, allow_private=True)
            except BaseUrlError as error:
                self.report.left_out.append(f"{path}: its address cannot be used: {error}")
                return None
            private = _is_private(address.base_url)
        name = self._free_name(address)
        self._known[known] = name
        self.providers[name] = self._provider(address, private=private)
        if not enabled:
            self.providers[name]["enabled"] = False
        if secrets:
            self.providers[name]["credentials"] = self._credentials(name, secrets, path)
        if private:
            self.report.approximated.append(
                f"{path}: provider {name} may use private addresses, because its host looks private"
            )
        return name

    def secret(self, secret: Secret, wanted: str, path: str) -> str:
        """How the document says a secret. `wanted`: the name of the variable where one must be made up."""
        if secret.name:
            self._variables.add(secret.name)
            self._to_set(secret.name, path)
            return f"env:{secret.name}"
        if self.take_secrets and not secret.literal.startswith("env:"):
            return secret.literal
        name = self._literals.get(secret.literal)
        if name is None:
            stem = re.sub(r"[^A-Z0-9]+", "_", wanted.upper()).strip("_")
            stem = stem if _VARIABLE.match(stem) else f"KEY_{stem}"
            name, number = stem, 1
            while name in self._variables:
                number += 1
                name = f"{stem}_{number}"
            self._variables.add(name)
            self._literals[secret.literal] = name
        self._to_set(name, path)
        return f"env:{name}"

    def _to_set(self, name: str, path: str) -> None:
        self.report.to_do.append(f"set {name} to the secret of {path}")

    def _credentials(self, provider: str, secrets: list[Secret], path: str) -> list[dict[str, Any]]:
        found = []
        for number, secret in enumerate(dict.fromkeys(secrets), start=1):
            several = len(secrets) > 1
            where = f"{path}, key {number}" if several else path
            said = self.secret(secret, f"{provider}_API_KEY{f'_{number}' if several else ''}", where)
            entry: dict[str, Any] = {"label": f"key-{number}" if several else "default", "secret": said}
            found.append(entry if secret.enabled else {**entry, "enabled": False})
        return found

    @staticmethod
    def _provider(address: Address, *, private: bool) -> dict[str, Any]:
        preset = PRESETS[address.preset]
        said: dict[str, Any] = {"preset": preset.name}
        if address.preset == CUSTOM:
            said = {"kind": preset.kind}
        if address.base_url:
            said["base_url"] = address.base_url.rstrip("/")
            said["allow_private_addresses"] = private or preset.private
        return said

    def _free_name(self, address: Address) -> str:
        stem = address.preset
        if stem == CUSTOM:
            host = urlsplit(address.base_url).hostname or ""
            stem = re.sub(r"[^a-z0-9]+", "-", host.removeprefix("api.").lower())[:50].strip("-") or CUSTOM
        name, number = stem, 1
        while name in self.providers:
            number += 1
            name = f"{stem}-{number}"
        return name


def reference(text: str, mark: str) -> Secret:
    """A secret from a text that may say `mark` and then a variable's name."""
    if text.startswith(mark) and _VARIABLE.match(text[len(mark) :]):
        return Secret(name=text[len(mark) :])
    return Secret(literal=text)


def is_model(name: str) -> bool:
    """True for what may be asked of a provider."""
    return _NAME.match(name) is not None and name.isprintable()


def is_pattern(name: str) -> bool:
    """True for what a route may have as its pattern."""
    return _PATTERN.match(name) is not None and name.isprintable()


def named(path: str, name: str) -> str:
    """A path with what people call the thing."""
    return f"{path} ({shown(name)})" if name else path


def _is_private(url: str) -> bool:
    """True where only a private network knows the host: its address says so, or it has no domain."""
    try:
        check_base_url(url, allow_private=False)
    except BaseUrlError:
        return True
    host = urlsplit(url).hostname or ""
    return "." not in host and ":" not in host
