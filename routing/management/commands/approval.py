"""manage.py approval list|break-glass: risky changes that await somebody else, and the way out where there is
no time for one."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from routing.approvals import break_glass
from routing.command_approval import staff
from routing.draft_ways import seen
from routing.drafts import DraftError
from routing.freeze import FrozenError
from routing.models_approvals import ASKED, Approval
from routing.models_drafts import Draft


class Command(BaseCommand):
    """Lists what awaits approval, or publishes a draft that nobody has approved."""

    help = "List risky changes that await approval, or publish one without."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="show what awaits approval")
        breaking = actions.add_parser(
            "break-glass", help="publish a draft that nobody else has approved; it is written down"
        )
        breaking.add_argument(
            "draft", type=int, metavar="DRAFT", help="its number, as `approval list` shows it"
        )
        breaking.add_argument("--reason", required=True, help="why there is no time, for the audit log")
        breaking.add_argument("--as", required=True, metavar="USER", help="the member of staff who does it")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "list":
            self._list()
        else:
            self._break(options["draft"], options["as"], options["reason"])

    def _list(self) -> None:
        waiting = Approval.objects.filter(state=ASKED).select_related("draft")
        for each in waiting:
            self.stdout.write(
                f"{each.draft_id}  {each.draft}  asked by {each.asked_by}: {'; '.join(each.risks)}"
            )
        if not waiting:
            self.stdout.write("Nothing awaits approval.")

    def _break(self, number: int, name: str, reason: str) -> None:
        user = staff(name)
        draft = Draft.objects.filter(pk=number).first()
        if draft is None or user is None:
            raise CommandError(f"There is no draft {number}.")
        try:
            lines = seen(draft).lines if draft.standing else []
            revision = break_glass(draft, user.get_username(), reason)
        except (DraftError, FrozenError) as error:
            raise CommandError(str(error)) from None
        for line in lines:
            self.stdout.write(line)
        self.stdout.write(f"Published as revision {revision}, approved by nobody, and written down.")
