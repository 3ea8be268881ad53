"""manage.py ledger reconcile|rollup|retention|forget: proofs, sums made anew, and deletion by age or team."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.conf import settings  # noqa: TID251 - a command is where settings come in
from django.core.management.base import BaseCommand, CommandError

from accounts.ledger import keep
from accounts.ledger.proof import Finding, duplicates, prove
from accounts.ledger.rollup import rollup
from accounts.ledger.rows import RequestEntry, UsageDay
from accounts.models import Team
from gateway_project.config import Config
from gateway_project.ledger_counters import compare
from pipeline.redis_client import FAULTS
from providers.crypto import Vault
from routing.loader import build_snapshot


class Command(BaseCommand):
    """Proves the ledger's sums, and deletes what is to go."""

    help = "Prove that the ledger is consistent, or delete old requests or those of a team."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        proving = actions.add_parser("reconcile", help="exit status 1, and what differs, where sums differ")
        proving.add_argument(
            "--days", type=int, help="only today and so many days before  (all, if left out)"
        )
        summing = actions.add_parser("rollup", help="make the sums of days anew from the requests")
        summing.add_argument(
            "--days", type=int, help="only today and so many days before  (all, if left out)"
        )
        keeping = actions.add_parser("retention", help="delete requests that are older than is set")
        keeping.add_argument("--days", type=int, help="keep so many days beside today  (LEDGER_DAYS)")
        forgetting = actions.add_parser("forget", help="delete the requests of a team, and keep its sums")
        forgetting.add_argument("team", help="the name, also of a team that is no more")
        forgetting.add_argument("--before", type=date.fromisoformat, help="a day such as 2030-01-31  (all)")
        forgetting.add_argument("--sums", action="store_true", help="delete its sums of days, too")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "reconcile":
            self._reconcile(options["days"])
        elif options["action"] == "rollup":
            self._rollup(options["days"])
        elif options["action"] == "retention":
            self._retention(options["days"])
        else:
            self._forget(options["team"], options["before"], with_sums=options["sums"])

    def _reconcile(self, days: int | None) -> None:
        config: Config = settings.GATEWAY
        since = _since(days) or date(1970, 1, 1)
        findings = [*prove(since), *duplicates(), *self._budgets(config)]
        for finding in findings:
            self.stdout.write(f"{finding.check}: {finding.words}")
        waiting = sum(path.stat().st_size for path in (config.data_dir / "ledger").glob("*.journal"))
        if waiting:
            self.stderr.write(f"In journals on this machine are {waiting} bytes, of which some may be new.")
        if findings:
            raise CommandError(f"{len(findings)} differences.", returncode=1)
        self.stdout.write("Nothing differs.")

    def _budgets(self, config: Config) -> list[Finding]:
        if config.redis_url is None:
            self.stderr.write("Budgets are counted in the processes' memory, which nobody can compare.")
            return []
        try:
            return list(compare(build_snapshot(Vault(config.secrets.vault_keys)), config.redis_url))
        except FAULTS as error:
            # The type alone: its words may name hosts.
            return [Finding("budgets", f"Redis does not answer: {type(error).__name__}")]

    def _rollup(self, days: int | None) -> None:
        count = sum(1 for _ in rollup(_since(days)))
        self.stdout.write(f"Sums of {count} days were made anew.")

    def _retention(self, days: int | None) -> None:
        config: Config = settings.GATEWAY
        kept = config.ledger_days if days is None else _checked(days, 1)
        if kept is None:
            self.stdout.write("Requests are kept for ever.")
            return
        before = keep.first_kept(kept)
        self.stdout.write(f"Deleted {keep.delete(before)} requests from before {before}.")

    def _forget(self, name: str, before: date | None, *, with_sums: bool) -> None:
        team = _team(name)
        day = before or datetime.now(UTC).date() + timedelta(days=1)
        self.stdout.write(f"Deleted {keep.delete(day, team)} requests of {name} from before {day}.")
        if with_sums:
            self.stdout.write(f"Deleted {keep.delete_sums(team)} sums of days.")


def _since(days: int | None) -> date | None:
    return None if days is None else keep.first_kept(_checked(days, 0))


def _checked(days: int, least: int) -> int:
    if not least <= days <= 36_500:
        raise CommandError(f"--days: from {least} to 36500")
    return days


def _team(name: str) -> int:
    """The id of the one team that has or had this name. Raises CommandError."""
    found = set(Team.objects.filter(name=name).values_list("pk", flat=True))
    if not found:
        for rows in (UsageDay.objects.all(), RequestEntry.objects.all()):
            found |= set(rows.filter(team=name).order_by().values_list("team_id", flat=True).distinct())
    if len(found) != 1:
        raise CommandError("No team has this name." if not found else "Several teams have had this name.")
    return found.pop()
