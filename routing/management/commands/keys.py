"""manage.py keys issue|rotate|revoke|list: gateway keys from the command line.

It lives here and not with the accounts, because issuing and revoking publish a revision.
"""

from __future__ import annotations

import re
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.apps import hasher
from accounts.issuing import KeyStateError, Wish
from accounts.models import ApiKey, Team
from routing.command_approval import told_where_kept
from routing.keys import Issued, issue_key, revoke_key, rotate_key
from routing.revisions import hold

_AUTHOR = "command line"
# A longer overlap is a second key.
_MOST_HOURS = 24 * 90
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class Command(BaseCommand):
    """Issues, rotates, revokes and lists keys. A key is printed once, alone on standard output."""

    help = "Issue, rotate, revoke or list gateway keys."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        issuing = actions.add_parser("issue", help="make a key and print it, alone, on standard output")
        issuing.add_argument("--team", required=True, help="the team's name; made where there is none")
        issuing.add_argument("--label", default="", help="what the key is for")
        issuing.add_argument("--expires", metavar="WHEN", help="12h, 90d, 4w, or a date such as 2030-01-31")
        issuing.add_argument(
            "--models", default="", help="what it may use: gpt-4o,claude-*  (all, if left out)"
        )
        revoking = actions.add_parser("revoke", help="refuse a key from now on")
        revoking.add_argument("key", metavar="PREFIX_OR_ID", help="as `keys list` shows it")
        rotating = actions.add_parser("rotate", help="make a key that takes another's place, and print it")
        rotating.add_argument("key", metavar="PREFIX_OR_ID", help="as `keys list` shows it")
        rotating.add_argument(
            "--overlap", type=float, default=24, metavar="HOURS", help="how long the old one goes on (24)"
        )
        actions.add_parser("list", help="show all keys by prefix")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "issue":
            self._issue(options)
        elif options["action"] == "revoke":
            self._revoke(options["key"])
        elif options["action"] == "rotate":
            self._rotate(options["key"], options["overlap"])
        else:
            self._list()

    def _issue(self, options: dict[str, Any]) -> None:
        expires = None if options["expires"] is None else _moment(options["expires"])
        models = [entry.strip() for entry in options["models"].split(",") if entry.strip()]
        with told_where_kept(show=self.stdout.write), _told(), transaction.atomic():
            hold()
            team, made = _team(options["team"])
            issued = issue_key(team, Wish(options["label"], expires, models), _AUTHOR)
        if made:
            # Only now: what was held back for somebody else was taken back too.
            self.stderr.write(f"Team {team} did not exist and was made.")
        self._show(issued)

    def _show(self, issued: Issued) -> None:
        row = issued.row
        until = f", until {row.expires_at:%Y-%m-%d %H:%M} UTC" if row.expires_at else ""
        self.stderr.write(
            f"Key {row.pk} for team {row.team}{until} (revision {issued.revision}). "
            "It is shown only this once."
        )
        self.stdout.write(issued.key)

    def _revoke(self, given: str) -> None:
        row = _find(given)
        number = revoke_key(row, _AUTHOR)
        if number is None:
            self.stdout.write(f"{row} was revoked on {row.revoked_at:%Y-%m-%d %H:%M} UTC.")
        else:
            self.stdout.write(f"Revoked {row} of team {row.team} (revision {number}).")

    def _rotate(self, given: str, hours: float) -> None:
        row = _find(given)
        if not 0 <= hours <= _MOST_HOURS:
            raise CommandError(f"--overlap: from 0 to {_MOST_HOURS} hours")
        try:
            with told_where_kept(show=self.stdout.write):
                issued = rotate_key(row, timedelta(hours=hours), _AUTHOR)
        except KeyStateError as error:
            raise CommandError(str(error)) from None
        self.stderr.write(f"{row} is refused from {row.expires_at:%Y-%m-%d %H:%M} UTC on.")
        self._show(issued)

    def _list(self) -> None:
        rows = [
            (
                str(row.pk),
                f"{row.prefix}…",
                row.team.name,
                row.label,
                row.state,
                f"{row.expires_at:%Y-%m-%d}" if row.expires_at else "never",
                ",".join(row.allowed_models) or "all",
            )
            for row in ApiKey.objects.select_related("team")
        ]
        if not rows:
            self.stdout.write("No keys yet. Make one: manage.py keys issue --team NAME")
            return
        table = [("id", "key", "team", "label", "state", "expires", "models"), *rows]
        widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
        for line in table:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            self.stdout.write("  ".join(cells).rstrip())


def _team(name: str) -> tuple[Team, bool]:
    """The team of this name, and whether it was made for it. Raises ValidationError."""
    team = Team.objects.filter(name=name).first()
    if team is not None:
        return team, False
    team = Team(name=name)
    team.full_clean()
    team.save()
    return team, True


def _find(given: str) -> ApiKey:
    """The one key meant by an id, a shown prefix, or the key itself. Raises CommandError."""
    wanted = Q(prefix=given.rstrip("…")) | Q(digest__in=[digest.hex() for digest in hasher().digests(given)])
    if given.isascii() and given.isdigit() and len(given) < 19:
        wanted |= Q(pk=int(given))
    found = list(ApiKey.objects.select_related("team").filter(wanted))
    if not found:
        raise CommandError("No key has this prefix or id. See: manage.py keys list")
    if len(found) > 1:
        ids = ", ".join(str(row.pk) for row in found)
        raise CommandError(f"Several keys are meant; name one by its id: {ids}")
    return found[0]


def _moment(text: str) -> datetime:
    """`12h`, `90d`, `4w` from now, or the beginning of a day in UTC. Raises CommandError."""
    found = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text)
    try:
        if found:
            return timezone.now() + int(found[1]) * _UNITS[found[2]]
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise CommandError("--expires: write 12h, 90d, 4w, or a date such as 2030-01-31") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment <= timezone.now():
        raise CommandError("--expires: this moment has passed")
    return moment


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        problems = (f"{name}: {' '.join(words)}" for name, words in error.message_dict.items())
        raise CommandError("\n".join(problems)) from None
