"""How commands take it that a change needs somebody else: in whose name they are run, and where it is
kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.contrib.auth.models import User
from django.core.management.base import CommandError

from routing.approval_gate import NeedsApprovalError
from routing.approvals import keep_asked, words_of_asked
from routing.drafts import DraftError

# Neither done nor failed: what runs the command shall not go on as if it were done.
KEPT = 3


def staff(name: str | None) -> User | None:
    """The member of staff of this name; None for none. Raises CommandError."""
    if name is None:
        return None
    found = User.objects.filter(username=name, is_active=True, is_staff=True).first()
    if found is None:
        raise CommandError(f"{name} is no active member of staff.")
    return found


@contextmanager
def told_where_kept(user: User | None = None, show: Callable[[str], object] | None = None) -> Iterator[None]:
    """What is held back is kept, and told with a status of its own. `show`: where a key goes, which works
    once it is approved. Raises CommandError."""
    try:
        yield
    except NeedsApprovalError as error:
        try:
            approval = keep_asked(error, user)
        except DraftError as refused:
            raise CommandError("\n".join(refused.problems)) from None
        words = words_of_asked(approval)
        if error.shown is not None and show is not None:
            words += " The key, which is shown only this once, works from then on."
            show(error.shown.key)
        raise CommandError(
            f"{words} Where there is no time: manage.py approval break-glass", returncode=KEPT
        ) from None
