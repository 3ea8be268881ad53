"""The routing app: which model name goes where."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from django.apps import AppConfig, apps


class RoutingConfig(AppConfig):
    """Sits above accounts and providers, and so registers their admin pages too. `own_addresses`, hosts and
    ports at which this gateway is reached, and `approval` are set once at start."""

    name = "routing"
    verbose_name = "Routing"
    default_auto_field = "django.db.models.BigAutoField"
    own_addresses: Collection[tuple[str, int]] = ()
    approval: frozenset[str] = frozenset()


def approval_groups() -> frozenset[str]:
    """Groups of risky changes that take two people; none: nobody waits for anybody."""
    return cast(RoutingConfig, apps.get_app_config("routing")).approval


def own_addresses() -> Collection[tuple[str, int]]:
    """Hosts and ports at which this gateway is reached, as far as its settings tell."""
    return cast(RoutingConfig, apps.get_app_config("routing")).own_addresses
