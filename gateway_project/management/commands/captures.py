"""manage.py captures forget: what teams have captured of prompts and answers, forgotten at once."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.capture.keep import forget_request, forget_team
from accounts.models import Capture, Team


class Command(BaseCommand):
    """Forgets what a team, or one request, has captured."""

    help = "Forget captured prompts and answers, for good."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        forgetting = actions.add_parser("forget", help="of a team, or of one request")
        which = forgetting.add_mutually_exclusive_group(required=True)
        which.add_argument("--team", help="the team's name: all that it has captured")
        which.add_argument("--request", help="a request's id")

    def handle(self, *_args: Any, **options: Any) -> None:
        if options["team"]:
            team = Team.objects.filter(name=options["team"]).first()
            if team is None:
                raise CommandError(f"No team is named {options['team']!r}.")
            self.stdout.write(f"{forget_team(team.pk)} captures are forgotten.")
            return
        row = Capture.objects.filter(request_id=options["request"]).first()
        if row is None:
            raise CommandError("Nothing is captured of that request.")
        forget_request(row)
        self.stdout.write("Forgotten.")
