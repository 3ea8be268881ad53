"""Writes the tables as a configuration document without secrets; applying it gives the same map."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import yaml
from django.db import models

from accounts.models import ApiKey, Budget, Limit, Team
from providers.models import CatalogueModel, Credential, Provider
from providers.wire import Timeouts
from routing.configfile import BreakerDoc, CacheDoc, SemanticDoc
from routing.configfile_allowances import Exported
from routing.models import Route, Target
from routing.past import Rows, rows_now

# Names of teams and providers by their rows.
Names = Mapping[tuple[type[models.Model], int], str]

_HEADER = """\
# The gateway's configuration. Apply with: manage.py config apply FILE
# Secrets are never written. Add `secret: env:NAME` to a credential, or `value: env:NAME` to a key.
"""


def export(rows: Rows | None = None) -> dict[str, Any]:
    """The document as plain data, of these rows or else of those that are there now. Of the catalogue only
    the rows that were edited by hand: the others come with the price list."""
    rows = rows_now() if rows is None else rows
    allowances = Exported(rows[Limit], rows[Budget])
    names: Names = {(model, row.pk): row.name for model in (Team, Provider) for row in rows[model]}
    credentials, targets = _by("provider_id", rows[Credential]), _by("route_id", rows[Target])
    providers = sorted(rows[Provider], key=lambda row: row.name)
    catalogue = sorted(rows[CatalogueModel], key=lambda row: (row.kind, row.name))
    return {
        "providers": {row.name: _provider(row, credentials[row.pk]) for row in providers},
        "models": [_model(row) for row in catalogue if row.overridden],
        "routes": [_route(row, targets[row.pk], names) for row in rows[Route]],
        "teams": [
            {
                "name": team.name,
                "priority": team.priority,
                **({"batches": True} if team.batches else {}),
                **({} if team.capture == "off" else {"capture": _capture(team)}),
                **allowances.of(team_id=team.pk),
            }
            for team in sorted(rows[Team], key=lambda row: row.name)
        ],
        "keys": [
            _key(key, names[Team, key.team_id], allowances) for key in rows[ApiKey] if key.revoked_at is None
        ],
        **allowances.of(),
    }


def to_yaml(document: dict[str, Any], header: str = _HEADER) -> str:
    """The document as text for a file, keys in their order."""
    body: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
    return header + body


def _by(column: str, rows: list[Any]) -> dict[int, list[Any]]:
    """Rows by whom they belong to."""
    found: dict[int, list[Any]] = defaultdict(list)
    for row in rows:
        found[getattr(row, column)].append(row)
    return found


def _provider(row: Provider, credentials: list[Credential]) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "base_url": row.base_url,
        "allow_private_addresses": row.allow_private_addresses,
        "enabled": row.enabled,
        "timeouts": {name: getattr(row, f"{name}_timeout") for name in Timeouts.__dataclass_fields__},
        "breaker": {name: getattr(row, f"breaker_{name}") for name in BreakerDoc.__struct_fields__},
        "credentials": [
            {"label": credential.label, "last4": credential.last4, "enabled": credential.enabled}
            for credential in credentials
        ],
    }


def _model(row: CatalogueModel) -> dict[str, Any]:
    prices = {
        name: getattr(row, f"{name}_price") for name in ("input", "output", "cache_read", "cache_write")
    }
    return {
        "kind": row.kind,
        "name": row.name,
        "context_window": row.context_window,
        "max_output_tokens": row.max_output_tokens,
        "capabilities": row.capabilities,
        "prices": {name: None if price is None else float(price) for name, price in prices.items()},
    }


def _route(row: Route, targets: list[Target], names: Names) -> dict[str, Any]:
    targets = sorted(targets, key=lambda target: (target.tier, -target.weight, target.pk))
    return {
        "name": row.name,
        "pattern": row.pattern,
        "priority": row.priority,
        "team": None if row.team_id is None else names[Team, row.team_id],
        "losses": row.losses,
        "balance": row.balance,
        "affinity": row.affinity,
        "integrity": row.integrity,
        "on_disconnect": row.on_disconnect,
        "tries": row.tries,
        "late_fallback": row.late_fallback,
        "queue": {"seconds": row.queue_seconds, "limit": row.queue_limit},
        "timeouts": {name: getattr(row, f"{name}_timeout") for name in Timeouts.__dataclass_fields__},
        "cache": {
            "mode": row.cache,
            **{name: getattr(row, f"cache_{name}") for name in CacheDoc.__struct_fields__ if name != "mode"},
        },
        "semantic": {
            "mode": row.semantic,
            **{
                name: getattr(row, f"semantic_{name}")
                for name in SemanticDoc.__struct_fields__
                if name != "mode"
            },
        },
        "enabled": row.enabled,
        "targets": [_target(target, names[Provider, target.provider_id]) for target in targets],
    }


def _target(row: Target, provider: str) -> dict[str, Any]:
    return {
        "provider": provider,
        "model": row.upstream_model,
        "weight": row.weight,
        "tier": row.tier,
        "body_patch": row.body_patch,
        "after": row.after,
        "max_in_flight": row.max_in_flight,
        "enabled": row.enabled,
    }


def _key(row: ApiKey, team: str, allowances: Exported) -> dict[str, Any]:
    return {
        "team": team,
        "prefix": row.prefix,
        "label": row.label,
        "allowed_models": row.allowed_models,
        "expires_at": None if row.expires_at is None else row.expires_at.isoformat(),
        **({"priority": row.priority} if row.priority else {}),
        **allowances.of(key_id=row.pk),
    }


def _capture(team: Team) -> dict[str, Any]:
    return {
        "mode": team.capture,
        "share": team.capture_share,
        "days": team.capture_days,
        "kilobytes": team.capture_kilobytes,
        "patterns": team.capture_patterns,
    }
