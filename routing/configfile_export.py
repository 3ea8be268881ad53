"""Writes the tables as a configuration document without secrets; applying it gives the same map."""

from __future__ import annotations

from typing import Any

import yaml

from accounts.models import ApiKey, Team
from providers.models import CatalogueModel, Provider
from providers.wire import Timeouts
from routing.configfile import BreakerDoc, CacheDoc, SemanticDoc
from routing.configfile_allowances import Exported
from routing.models import Route, Target

_HEADER = """\
# The gateway's configuration. Apply with: manage.py config apply FILE
# Secrets are never written. Add `secret: env:NAME` to a credential, or `value: env:NAME` to a key.
"""


def export() -> dict[str, Any]:
    """The document as plain data. Of the catalogue only the rows that were edited by hand: the others come
    with the price list."""
    allowances = Exported()
    return {
        "providers": {row.name: _provider(row) for row in Provider.objects.prefetch_related("credentials")},
        "models": [_model(row) for row in CatalogueModel.objects.filter(overridden=True)],
        "routes": [
            _route(row)
            for row in Route.objects.select_related("team")
            .prefetch_related("targets__provider")
            .order_by("id")
        ],
        "teams": [
            {
                "name": team.name,
                "priority": team.priority,
                **({"batches": True} if team.batches else {}),
                **allowances.of(team_id=team.pk),
            }
            for team in Team.objects.all()
        ],
        "keys": [
            _key(key, allowances)
            for key in ApiKey.objects.filter(revoked_at=None).select_related("team").order_by("id")
        ],
        **allowances.of(),
    }


def to_yaml(document: dict[str, Any], header: str = _HEADER) -> str:
    """The document as text for a file, keys in their order."""
    body: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
    return header + body


def _provider(row: Provider) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "base_url": row.base_url,
        "allow_private_addresses": row.allow_private_addresses,
        "enabled": row.enabled,
        "timeouts": {name: getattr(row, f"{name}_timeout") for name in Timeouts.__dataclass_fields__},
        "breaker": {name: getattr(row, f"breaker_{name}") for name in BreakerDoc.__struct_fields__},
        "credentials": [
            {"label": credential.label, "last4": credential.last4, "enabled": credential.enabled}
            for credential in row.credentials.all()
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


def _route(row: Route) -> dict[str, Any]:
    return {
        "name": row.name,
        "pattern": row.pattern,
        "priority": row.priority,
        "team": None if row.team is None else row.team.name,
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
        "targets": [_target(target) for target in row.targets.all()],
    }


def _target(row: Target) -> dict[str, Any]:
    return {
        "provider": row.provider.name,
        "model": row.upstream_model,
        "weight": row.weight,
        "tier": row.tier,
        "body_patch": row.body_patch,
        "after": row.after,
        "max_in_flight": row.max_in_flight,
        "enabled": row.enabled,
    }


def _key(row: ApiKey, allowances: Exported) -> dict[str, Any]:
    return {
        "team": row.team.name,
        "prefix": row.prefix,
        "label": row.label,
        "allowed_models": row.allowed_models,
        "expires_at": None if row.expires_at is None else row.expires_at.isoformat(),
        **({"priority": row.priority} if row.priority else {}),
        **allowances.of(key_id=row.pk),
    }
