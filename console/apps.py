"""The console as a Django app: it holds what the composition root hands in of a process that serves calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from django.apps import AppConfig, apps
from django.core import checks
from django.db.models.signals import post_migrate, pre_migrate

from pipeline.cache_stores import Stock
from pipeline.explanation import Counted, Looked
from pipeline.pulse_desk import Desk
from routing.plan import Live
from routing.snapshot import Snapshot

if TYPE_CHECKING:
    # Loaded only where somebody may sign in by it.
    from console.oidc.identity_provider import IdentityProvider


@dataclass(frozen=True, slots=True)
class Running:
    """What a process that serves calls knows of this moment: the configuration in force, how targets are, how
    limits stand, what each team has in the cache and what is kept of an answer, None where that cannot be
    told. All of it may be asked
    from any thread but the event loop's."""

    snapshot: Callable[[], Snapshot]
    live: Live
    counted: Counted
    stock: Callable[[], Mapping[int, Stock] | None] = lambda: None
    looked: Looked = lambda _place, _keys: None


class ConsoleConfig(AppConfig):
    """`running` and `desk`, which belongs to the event loop, are set where calls are served; None elsewhere,
    as in a command."""

    name = "console"
    verbose_name = "Console"
    running: Running | None = None
    desk: Desk | None = None
    # Where the admin's users may come from; None: single sign-on is off.
    sign_in: IdentityProvider | None = None

    def ready(self) -> None:
        """Roles are there once the tables and their permissions are."""
        from console.oidc.roles_check import check_roles  # noqa: PLC0415 - models are ready only now
        from console.roles import RolesOfMigrating  # noqa: PLC0415 - as above

        checks.register(check_roles, checks.Tags.database)

        # This app has no tables of its own, and routing's come last.
        routing, roles = apps.get_app_config("routing"), RolesOfMigrating()
        pre_migrate.connect(roles.before, sender=routing, weak=False, dispatch_uid="roles-before")
        post_migrate.connect(roles.after, sender=routing, weak=False, dispatch_uid="roles")


def running() -> Running | None:
    """What this process knows of this moment; None where it serves no calls."""
    return cast(ConsoleConfig, apps.get_app_config("console")).running


def desk() -> Desk | None:
    """Where live traffic is watched in this process; None where it serves no calls."""
    return cast(ConsoleConfig, apps.get_app_config("console")).desk
