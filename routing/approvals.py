"""Approval of risky changes by a second person: what was held back is kept as a draft, somebody else
publishes it just as it was asked for, or says why not."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils import timezone

from accounts.acting import acting_id
from accounts.audit import entry
from accounts.rights import Action, may
from routing.approval_gate import Leave, NeedsApprovalError
from routing.draft_ways import (
    LOOK_AGAIN,
    begin,
    finish,
    laid_to_publish,
    must_stand,
    open_draft,
    publish_draft,
    sight_of,
    stands_in_its_way,
)
from routing.drafts import DraftError, answer, keep, lay, looked_at, touch
from routing.history import Place
from routing.models_approvals import APPROVED, ASKED, FORCED, REJECTED, VOID, WITHDRAWN, Approval
from routing.models_drafts import OPEN, PUBLISHED, Draft, DraftRow
from routing.revisions import hold, latest, publish
from routing.standing import Kept, standing_rows

# More than anybody can look through; a script that asks again and again stops here.
MOST_ASKED = 50
_MEANWHILE = "Somebody else has published meanwhile, and nothing was kept: do it again."


class Answer(NamedTuple):
    """What an approval came to: a revision, or why it is void."""

    revision: int | None
    problems: list[str]


class _VoidError(Exception):
    """What is asked for cannot be published any more as it was asked for."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class _SameError(Exception):
    """It is asked for already."""

    def __init__(self, approval: Approval) -> None:
        super().__init__(str(approval))
        self.approval = approval


def keep_asked(error: NeedsApprovalError, user: Any = None) -> Approval:
    """Keep what was held back as a draft that awaits approval; once what was done has been taken back.
    `user`: who did it, where no request says so. The same asked for again is the same request.
    Raises DraftError."""
    asker = acting_id() if user is None else user.pk
    with transaction.atomic():
        hold()
        _must_follow(error)
        kept = _kept(error)
        if not kept:
            raise DraftError(["Nothing in it differs from how it is."])
        _must_be_free(kept)
        try:
            with transaction.atomic():
                draft = begin(_title(error.reason), error.author, "Held back for somebody else.")
                keep(draft, kept)
                if asker is not None:
                    touch(draft, asker)
                return _asked(draft, error, asker, new=True)
        except _SameError as same:
            return same.approval


def publish_or_ask(draft: Draft, user: Any, reason: str, print_: str = "") -> int | Approval:
    """Publish a draft, or ask for approval where that takes somebody else. Raises as publish_draft does."""
    try:
        return publish_draft(draft, user, reason, print_)
    except NeedsApprovalError as error:
        with transaction.atomic():
            hold()
            _must_follow(error)
            draft.refresh_from_db()
            must_stand(draft)
            approval = _asked(draft, error, acting_id() if user is None else user.pk)
            if print_ and approval.print != print_:
                # Somebody has edited it in between, and it would be asked for in another's name.
                raise DraftError([LOOK_AGAIN]) from None
            return approval


def asked(draft: Draft) -> Approval | None:
    """What is asked for and not answered yet."""
    return draft.approvals.filter(state=ASKED).first()


def may_answer(draft: Draft, approval: Approval, user: Any) -> bool:
    """Whether somebody has the right, and neither asked for it nor put anything into it."""
    own = {approval.asker, *(draft.editors or ())}
    names = {approval.asked_by, draft.author}
    return may(user, Action.APPROVE) and user.pk not in own and user.get_username() not in names


def waiting_for(user: Any) -> list[Approval]:
    """What is asked for that this user may answer, the first asked first."""
    if not may(user, Action.APPROVE):
        return []
    waiting = Approval.objects.filter(state=ASKED).select_related("draft").order_by("id")
    return [each for each in waiting if may_answer(each.draft, each, user)]


def approve(draft: Draft, user: Any, print_: str) -> Answer:
    """Publish what was asked for, at once and in both names, or find that it is void. `print_`: of what was
    looked at. Raises DraftError, PermissionDenied, FrozenError; then nothing has changed."""
    with transaction.atomic():
        hold()
        approval = _answerable(draft, user)
        if print_ != approval.print:
            raise DraftError(["What you looked at is not what approval was asked for: look again."])
        try:
            with transaction.atomic():
                number = _published(draft, approval, user.get_username())
        except _VoidError as error:
            answer(approval, VOID, user.get_username(), " ".join(error.problems))
            return Answer(None, error.problems)
        answer(approval, APPROVED, user.get_username(), f"revision {number}")
    return Answer(number, [])


def reject(draft: Draft, user: Any, words: str) -> None:
    """Say why it is not to be. The draft stays, to be mended and asked for again. Raises DraftError,
    PermissionDenied."""
    with transaction.atomic():
        hold()
        approval = _answerable(draft, user)
        if not words.strip():
            raise DraftError(["Say why: whoever asked will want to know."])
        answer(approval, REJECTED, user.get_username(), words.strip())


def withdraw(draft: Draft, user: Any) -> None:
    """Ask for it no more. Raises DraftError, PermissionDenied."""
    with transaction.atomic():
        hold()
        draft.refresh_from_db()
        approval = _standing(draft)
        if approval.asker != user.pk and not may(user, Action.EDIT_DRAFTS):
            raise PermissionDenied
        answer(approval, WITHDRAWN, user.get_username(), "")


def break_glass(draft: Draft, author: str, words: str) -> int:
    """Publish a draft that nobody has approved, for a reason that is written down. For whoever runs the
    machine. Raises DraftError, FrozenError."""
    if not words.strip():
        raise DraftError(["Say why: it is written down."])
    reason = f"glass broken: {words.strip()}"
    with transaction.atomic():
        _, sight = laid_to_publish(draft)
        number = publish(author, reason, sight.changes, leave=Leave())
        finish(draft, PUBLISHED, number)
        approval = asked(draft)
        if approval is not None:
            answer(approval, FORCED, author, words.strip())
        else:
            entry(f"draft {draft}", "broke the glass", {"words": words.strip()}, author).save()
    return number


def words_of_asked(approval: Approval) -> str:
    """What whoever asked is told."""
    return (
        f"Kept as the draft {approval.draft} (number {approval.draft_id}), which awaits approval by somebody "
        f"else and steers nothing until then: {'; '.join(approval.risks[:5])}."
    )


def _must_follow(error: NeedsApprovalError) -> None:
    if latest() != error.seen:
        raise DraftError([_MEANWHILE])


def _kept(error: NeedsApprovalError) -> dict[Place, Kept]:
    base, after = standing_rows(), error.after
    kept: dict[Place, Kept] = {}
    for place in base.keys() | after.keys():
        was, values = base.get(place), after.get(place)
        if was == values:
            continue
        secret = _another_secret(was, values) if place.table == "credential" else False
        kept[place] = Kept(was, values, *(error.sealed[place] if secret else ()))
    return kept


def _another_secret(was: Any, values: Any) -> bool:
    return values is not None and (was is None or was["secret"] != values["secret"])


def _must_be_free(kept: dict[Place, Kept]) -> None:
    """A number that was taken back may have been given again, to a row of another draft."""
    new = {place for place, row in kept.items() if row.base is None}
    taken = DraftRow.objects.filter(draft__state=OPEN, base__isnull=True).values_list("table", "row")
    if any(Place(*each) in new for each in taken):
        raise DraftError([_MEANWHILE])


def _title(reason: str) -> str:
    words = f"{reason[:60]}, {timezone.now():%Y-%m-%d %H:%M:%S}"
    titles = (words, *(f"{words} ({number})" for number in range(2, MOST_ASKED + 2)))
    return next((each for each in titles if open_draft(each) is None), words)


def _asked(draft: Draft, error: NeedsApprovalError, asker: int | None, *, new: bool = False) -> Approval:
    """Within the caller's transaction, which holds. What is asked for of a draft is not asked twice. `new`:
    the draft was made for it; raises _SameError where the same person has asked for the same."""
    with looked_at(draft) as laid:
        sight = sight_of(laid)
        problems = stands_in_its_way(sight, laid)
    if problems:
        raise DraftError(problems)
    now = asked(draft)
    if now is not None and now.print == sight.print_:
        return now
    open_ = Approval.objects.filter(state=ASKED, asked_by=error.author, asker=asker)
    same = open_.filter(print=sight.print_).first() if new else None
    if same is not None:
        raise _SameError(same)
    if open_.count() >= MOST_ASKED:
        raise DraftError([f"{MOST_ASKED} of your changes await approval already: see to those first."])
    if now is not None:
        answer(now, VOID, error.author, "Asked for anew, of what it is now.")
    approval = Approval(
        draft=draft,
        print=sight.print_,
        risks=error.risks[:200],
        reason=error.reason[:500],
        asked_by=error.author[:150],
        asker=asker,
    )
    approval.save()
    entry(str(approval), "asked", {"risks": error.risks[:50]}, error.author).save()
    return approval


def _standing(draft: Draft) -> Approval:
    last = draft.approvals.first()
    if last is None:
        raise DraftError(["Nobody has asked for approval of this draft."])
    if last.state != ASKED:
        by = f" by {last.answered_by}" if last.answered_by else ""
        raise DraftError([f"What was asked for is {last.get_state_display()} already{by}."])
    return last


def _answerable(draft: Draft, user: Any) -> Approval:
    draft.refresh_from_db()
    approval = _standing(draft)
    if not may(user, Action.APPROVE):
        raise PermissionDenied
    if not may_answer(draft, approval, user):
        raise DraftError(["You asked for it or put something into it: somebody else has to look at it."])
    return approval


def _published(draft: Draft, approval: Approval, by: str) -> int:
    """Raises _VoidError; then nothing has changed."""
    asker = approval.asker
    if asker is not None and not User.objects.filter(pk=asker, is_active=True, is_staff=True).exists():
        raise _VoidError([f"{approval.asked_by}, who asked for it, is no member of staff any more."])
    try:
        laid = lay(draft)
    except DraftError as error:
        raise _VoidError(error.problems) from error
    sight = sight_of(laid)
    problems = stands_in_its_way(sight, laid)
    if not problems and sight.print_ != approval.print:
        problems = ["It is not what approval was asked for: the draft, or what it changes, is another since."]
    if problems:
        raise _VoidError(problems)
    number = publish(approval.asked_by, approval.reason, sight.changes, leave=Leave(by))
    finish(draft, PUBLISHED, number)
    return number
