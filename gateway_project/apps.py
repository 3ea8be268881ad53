"""The project as a Django app: it hands the others their secrets and holds the `serve` command."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings  # noqa: TID251 - the composition root hands them in

from gateway_project.optional import import_without


class GatewayProjectConfig(AppConfig):
    """Runs after all models are there."""

    name = "gateway_project"
    verbose_name = "Gateway"

    def ready(self) -> None:
        # It looks for fields of PostgreSQL and for a client of its tests. Nothing here uses either, and they
        # cost 14 MiB: the one brings PostgreSQL's driver along, the other one more HTTP client.
        import_without("rest_framework.compat", ["django.contrib.postgres", "requests"])
        from gateway_project.wiring import equip  # noqa: PLC0415 - it imports models, which are ready only now

        equip(settings.GATEWAY)
