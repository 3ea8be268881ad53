"""manage.py tokens issue|revoke|list: management tokens, with which programs use the management API."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from accounts.apps import hasher
from accounts.models import Team
from accounts.tokens import ManagementToken, new_token


class Command(BaseCommand):
    """A token is printed once, alone on standard output. It may what its user may."""

    help = "Issue, revoke or list management tokens."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        issuing = actions.add_parser("issue", help="make a token and print it, alone, on standard output")
        issuing.add_argument("--user", required=True, help="the member of staff whose rights it has")
        issuing.add_argument("--label", default="", help="what it is for")
        issuing.add_argument("--role", help="it may what this role (group) may, and its user too")
        issuing.add_argument("--team", help="it is for the keys, requests and usage of this team alone")
        issuing.add_argument("--days", type=int, metavar="N", help="refused after so many days")
        revoking = actions.add_parser("revoke", help="refuse a token from now on")
        revoking.add_argument("id", type=int, metavar="ID", help="as `tokens list` shows it")
        actions.add_parser("list", help="show all tokens")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "issue":
            self._issue(options)
        elif options["action"] == "revoke":
            row = ManagementToken.objects.filter(pk=options["id"]).first()
            if row is None:
                raise CommandError("No token has this id. See: manage.py tokens list")
            row.revoked_at = row.revoked_at or timezone.now()
            row.save(update_fields=["revoked_at"])
            self.stdout.write("Revoked.")
        else:
            for row in ManagementToken.objects.select_related("user", "role", "team"):
                ends = f"until {row.expires_at:%Y-%m-%d}" if row.expires_at else "for good"
                used = f"used {row.used_at:%Y-%m-%d %H:%M} UTC" if row.used_at else "never used"
                state = ends if row.usable else "refused"
                narrow = f"{row.role or 'as its user'}, {row.team or 'every team that he sees'}"
                self.stdout.write(f"{row.pk}  {row}  {row.user.get_username()} ({narrow})  {state}  {used}")

    def _issue(self, options: dict[str, Any]) -> None:
        name, days = options["user"], options["days"]
        user = get_user_model().objects.filter(username=name, is_active=True, is_staff=True).first()
        if user is None:
            raise CommandError(f"No active member of staff is named {name!r}.")
        if days is not None and not 0 < days <= 3650:
            raise CommandError("--days: from 1 to 3650")
        ends = None if days is None else timezone.now() + timedelta(days=days)
        try:
            narrow = {"role": _named(Group, options["role"]), "team": _named(Team, options["team"])}
            row, token = new_token(user, hasher(), options["label"], ends, **narrow)
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from None
        self.stderr.write(f"Token {row.pk} of {name}. It is shown only this once.")
        self.stdout.write(token)


def _named(model: Any, name: str | None) -> Any:
    if name is None:
        return None
    found = model.objects.filter(name=name).first()
    if found is None:
        raise CommandError(f"No {model._meta.verbose_name} is named {name!r}.")
    return found
