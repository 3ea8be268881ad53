"""manage.py lint: what will go wrong with the configuration, with an exit status for scripts."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError

from routing.findings import SEVERITIES
from routing.lint_now import findings


class Command(BaseCommand):
    """Looks over the whole configuration and changes nothing."""

    help = "Find what will go wrong with the configuration. Exit status 1 where something is found."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="the findings as a list, for programs")
        parser.add_argument(
            "--fail-on",
            choices=SEVERITIES,
            default="error",
            help="exit status 1 from this severity on  (error)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        found = findings()
        if options["json"]:
            self.stdout.write(msgspec.json.encode(found).decode())
        else:
            for each in found:
                place = f"{each.where.table} {each.where.name}".strip()
                self.stdout.write(f"{each.severity}: {place}: {each.words} {each.mend} [{each.check}]")
            if not found:
                self.stdout.write("Nothing was found.")
        worst = SEVERITIES.index(options["fail_on"])
        failing = sum(SEVERITIES.index(each.severity) <= worst for each in found)
        if failing:
            raise CommandError(f"{failing} to mend.", returncode=1)
