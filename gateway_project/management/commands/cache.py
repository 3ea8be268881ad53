"""manage.py cache purge|stats: cached answers from the command line.

It lives here, because looking into Redis takes what the gateway itself has for it.
"""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from prometheus_client import CollectorRegistry

from accounts.models import Team
from gateway_project.settings import GATEWAY
from pipeline.cache_metrics import CacheMetrics
from pipeline.cache_redis import RedisCache
from pipeline.cache_stores import Stock
from routing.models import CachePurge, Route
from routing.revisions import hold, publish

_AUTHOR = "command line"


class Command(BaseCommand):
    """Purges cached answers on every replica, or tells what each team has in Redis."""

    help = "Purge cached answers, or tell how many there are."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        purging = actions.add_parser("purge", help="give kept answers to nobody any more, and delete them")
        purging.add_argument("--team", metavar="NAME", help="those of this team")
        purging.add_argument("--route", metavar="NAME", help="those of this route")
        purging.add_argument("--entry", metavar="KEY", help="one, as x-gateway-cache-key named it")
        purging.add_argument("--all", action="store_true", help="all of them")
        actions.add_parser("stats", help="how many answers each team has, and their bytes")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "purge":
            self._purge(options)
        else:
            self._stats()

    def _purge(self, options: dict[str, Any]) -> None:
        named = [name for name in ("team", "route", "entry") if options[name]]
        if bool(named) == options["all"]:
            raise CommandError("Say --team, --route, --entry, or --all.")
        with transaction.atomic():
            hold()
            purge = CachePurge(
                team=self._row(Team, options["team"]),
                route=self._row(Route, options["route"]),
                key=options["entry"] or "",
                author=_AUTHOR,
            )
            try:
                purge.full_clean()
            except ValidationError as error:
                raise CommandError("; ".join(error.messages)) from None
            purge.save()
            words = f"cache purge: {purge}"
            change = {"object": f"cache purge {purge}", "action": "added", "fields": {}}
            publish(_AUTHOR, words, [change], edit=False)
        self.stdout.write(f"{words}. In force on every replica within a second or two.")

    @staticmethod
    def _row(model: Any, name: str | None) -> Any:
        if name is None:
            return None
        found = model.objects.filter(name=name).first()
        if found is None:
            raise CommandError(f"No {model._meta.verbose_name} is named {name!r}.")
        return found

    def _stats(self) -> None:
        url = GATEWAY.cache_redis_url
        if url is None:
            self.stdout.write(
                "Answers are in the memory of each process: see gateway_cache_bytes and "
                "gateway_cache_requests_total at /metrics."
            )
            return
        stock = asyncio.run(_stock(url, GATEWAY.cache_team_mb << 20))
        if stock is None:
            raise CommandError("Redis does not answer.")
        names = dict(Team.objects.values_list("pk", "name"))
        for team, held in sorted(stock.items()):
            name = names.get(team, f"team {team}, which is gone")
            self.stdout.write(f"{name}: {held.entries} answers, {held.size} bytes")
        self.stdout.write(f"{sum(held.entries for held in stock.values())} answers in all")


async def _stock(url: str, team: int) -> dict[int, Stock] | None:
    """What is in Redis; None where it does not answer."""
    store = RedisCache(url, team, CacheMetrics(CollectorRegistry()))
    await store.start()
    try:
        return await store.stock() if store.up else None
    finally:
        await store.stop()
