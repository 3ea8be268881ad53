"""The rows that steer traffic, read from the tables as of one revision: the only reader of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
from django.db.models import TextField, Value
from django.db.models.functions import Cast, Coalesce
from django.utils import timezone

from accounts.models import ApiKey, Budget, Limit, Team
from providers.models import CatalogueModel, Credential, Provider
from routing.caching import MAX_TTL_SECONDS
from routing.models import CachePurge, Measure, Route, Target
from routing.readable import readable
from routing.revisions import latest

# One row, its primary key first; the columns are those of the query that read it.
Row = tuple[Any, ...]

# The columns of each table's rows, by the table's name in the history.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "team": (
        "id",
        "name",
        "priority",
        "batches",
        "capture",
        "capture_share",
        "capture_kilobytes",
        "capture_patterns",
    ),
    "key": (
        "id",
        "prefix",
        "digest",
        "team_id",
        "label",
        "expires_at",
        "allowed_models",
        "priority",
    ),
    "provider": (
        "id",
        "name",
        "kind",
        "base_url",
        "allow_private_addresses",
        "enabled",
        "connect_timeout",
        "first_byte_timeout",
        "first_byte_stream_timeout",
        "idle_timeout",
        "total_timeout",
        "breaker_mode",
        "breaker_consecutive",
        "breaker_ratio",
        "breaker_minimum",
        "breaker_window",
        "breaker_open",
        "breaker_max_open",
        "client_stall_timeout",
    ),
    "credential": (
        "id",
        "provider_id",
        "label",
        "last4",
        "sealed",
    ),
    "route": (
        "id",
        "name",
        "pattern",
        "priority",
        "team_id",
        "losses",
        "balance",
        "affinity",
        "integrity",
        "on_disconnect",
        "tries",
        "queue_seconds",
        "queue_limit",
        "connect_timeout",
        "first_byte_timeout",
        "first_byte_stream_timeout",
        "idle_timeout",
        "total_timeout",
        "client_stall_timeout",
        "cache",
        "cache_ttl",
        "cache_scope",
        "cache_max_bytes",
        "cache_tools",
        "cache_temperature",
        "semantic",
        "semantic_threshold",
        "semantic_embedder",
        "semantic_guard",
        "semantic_context",
        "semantic_seconds",
        "semantic_prompts",
        "late_fallback",
    ),
    "target": (
        "id",
        "route_id",
        "provider_id",
        "upstream_model",
        "weight",
        "tier",
        "body_patch",
        "enabled",
        "after",
        "max_in_flight",
    ),
    "catalogue": (
        "id",
        "kind",
        "name",
        "context_window",
        "max_output_tokens",
        "capabilities",
        "input_price",
        "output_price",
        "cache_read_price",
        "cache_write_price",
    ),
    "limit": (
        "id",
        "team_id",
        "key_id",
        "kind",
        "amount",
        "per",
        "model",
        "provider",
        "wait_seconds",
    ),
    "budget": (
        "id",
        "team_id",
        "key_id",
        "unit",
        "amount",
        "period",
        "hard",
        "webhook_url",
    ),
}

# Purges from before this are older than any answer.
_OUTLIVED = timedelta(seconds=MAX_TTL_SECONDS) + timedelta(days=1)
# Edits that keep coming while the tables are read: after this many readings the last one serves, under the
# number from before it, so that the next look reads again.
_READINGS = 3


class Tables(msgspec.Struct, frozen=True):
    """All rows of one revision. Secrets are sealed and keys are digests, as they are in the database."""

    revision: int
    teams: list[Row] = []
    keys: list[Row] = []
    providers: list[Row] = []
    credentials: list[Row] = []
    routes: list[Row] = []
    targets: list[Row] = []
    catalogue: list[Row] = []
    limits: list[Row] = []
    budgets: list[Row] = []
    purges: list[Row] = []
    measures: list[Row] = []
    # How many rows could not be read.
    unread: int = 0


def read_tables() -> Tables:
    """Everything that steers traffic, as of one revision. Blocks; eleven queries. Raises DatabaseError."""
    before = latest()
    for _ in range(_READINGS - 1):
        tables = _read(before)
        after = latest()
        if after == before:
            return tables
        before = after
    return _read(before)


def _read(revision: int) -> Tables:
    lost: list[int] = []
    rows = partial(readable, lost=lost)
    return Tables(
        revision=revision,
        teams=rows(Team.objects.values_list(*COLUMNS["team"])),
        keys=rows(ApiKey.objects.filter(revoked_at=None).values_list(*COLUMNS["key"])),
        providers=rows(Provider.objects.values_list(*COLUMNS["provider"])),
        credentials=rows(
            Credential.objects.filter(enabled=True).order_by("id").values_list(*COLUMNS["credential"])
        ),
        routes=rows(Route.objects.filter(enabled=True).order_by("id").values_list(*COLUMNS["route"])),
        targets=rows(
            Target.objects.filter(route__enabled=True)
            .order_by("route_id", "tier", "-weight", "id")
            .values_list(*COLUMNS["target"])
        ),
        catalogue=rows(CatalogueModel.objects.values_list(*COLUMNS["catalogue"])),
        limits=rows(Limit.objects.filter(enabled=True).order_by("id").values_list(*COLUMNS["limit"])),
        budgets=rows(
            Budget.objects.filter(enabled=True)
            .order_by("id")
            .annotate(
                # As text, which every value has: one that is no number must not vanish here.
                amount_text=Cast("amount", TextField()),
                owner=Coalesce("team__name", "key__prefix", Value("")),
            )
            .values_list(
                *("amount_text" if name == "amount" else name for name in COLUMNS["budget"]), "owner"
            )
        ),
        purges=rows(
            CachePurge.objects.filter(created__gt=timezone.now() - _OUTLIVED)
            .order_by("id")
            .values_list("id", "team_id", "route_id", "key")
        ),
        measures=rows(Measure.objects.filter(ended=None).values_list("id", "kind", "provider_id", "until")),
        unread=len(lost),
    )
