"""Whether edits are frozen, and the refusal of one that comes meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.utils import timezone

from routing.models_measures import Measure

# What is tried and taken back changes nothing.
_trying: ContextVar[bool] = ContextVar("trying", default=False)


class FrozenError(Exception):
    """An edit was asked for while edits are frozen; its text says by whom, why and until when."""


def freeze_now() -> Measure | None:
    """The freeze that holds; None: edits are free."""
    return Measure.objects.filter(kind="freeze", ended=None, until__gt=timezone.now()).first()


def trying() -> bool:
    """Whether what is done will be taken back."""
    return _trying.get()


def freeze_words() -> str:
    """What whoever edits is told; "" while edits are free, and for what is only tried."""
    held = None if trying() else freeze_now()
    if held is None:
        return ""
    return (
        f"Edits are frozen until {held.until:%Y-%m-%d %H:%M} UTC by {held.author}: {held.reason} "
        "Nothing was changed. Whoever may take measures ends the freeze on the page of live traffic."
    )


def refuse_while_frozen() -> None:
    """Raises FrozenError for an edit that is meant."""
    words = freeze_words()
    if words:
        raise FrozenError(words)


@contextmanager
def only_tried() -> Iterator[None]:
    """What is done within is taken back, so a freeze does not hold it up."""
    token = _trying.set(True)
    try:
        yield
    finally:
        _trying.reset(token)
