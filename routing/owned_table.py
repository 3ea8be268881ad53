"""Who owns which file or batch, by the table. Off the path of every other call."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from django.db import DatabaseError, connections
from django.db.models import Q, QuerySet

from dialects.errors import DEPENDENCY, Detail, GatewayError
from routing.owned import OwnedObject
from routing.ownership import Kind, Owned, Page

# Below what any database takes in one question.
BATCH = 500
# How long a file's row outlives the file, in seconds: clocks differ, and providers delete when it suits them.
GRACE = 24 * 3600
# PostgreSQL keeps no text with one, and takes none in a question.
_NUL = "\x00"

Args = ParamSpec("Args")
Result = TypeVar("Result")


def _asked(method: Callable[Args, Result]) -> Callable[Args, Result]:
    """A question to the database from whatever thread: its failure is a 503, and its connection is closed."""

    @functools.wraps(method)
    def asking(*args: Args.args, **kwargs: Args.kwargs) -> Result:
        try:
            return method(*args, **kwargs)
        except DatabaseError as error:
            words = "The gateway cannot tell at the moment whose files and batches these are."
            raise GatewayError(DEPENDENCY, words, Detail(retry_after=5)) from error
        finally:
            connections.close_all()

    return asking


class OwnedTable:
    """The ownership of the pipeline. The same on every replica, and after a restart."""

    @_asked
    def add(self, owned: Owned) -> bool:
        """Write it down; False: it is somebody else's already. Rows of files that are long gone go with it,
        some at a time, so that the table holds no more than what there is."""
        _forget(int(time.time()) - GRACE)
        row, _ = OwnedObject.objects.get_or_create(
            provider_id=owned.provider,
            kind=owned.kind,
            upstream_id=owned.id,
            defaults={
                "credential_id": owned.credential,
                "team_id": owned.team,
                "key_id": owned.key,
                "shown": owned.shown,
                "expires": owned.expires,
            },
        )
        return row.team_id == owned.team

    @_asked
    def find(self, team: int, kind: Kind, name: str) -> Owned | None:
        """The team's own object with this id."""
        row = OwnedObject.objects.filter(team_id=team, kind=kind, upstream_id=name).first()
        return None if row is None else _owned(row)

    @_asked
    def page(self, team: int, kind: Kind, page: Page) -> tuple[Sequence[Owned], bool]:
        """A part of the team's own, and whether there are more."""
        if _NUL in page.after + page.purpose:
            return [], False
        rows = OwnedObject.objects.filter(team_id=team, kind=kind)
        # What has expired at the provider is no longer there.
        rows = rows.filter(Q(expires__isnull=True) | Q(expires__gt=int(time.time())))
        if page.purpose:
            rows = rows.filter(shown__purpose=page.purpose)
        if page.after:
            last = OwnedObject.objects.filter(team_id=team, kind=kind, upstream_id=page.after).first()
            if last is None:
                return [], False
            rows = rows.filter(id__gt=last.pk) if page.ascending else rows.filter(id__lt=last.pk)
        found = list(rows.order_by("id" if page.ascending else "-id")[: page.limit + 1])
        return [_owned(row) for row in found[: page.limit]], len(found) > page.limit

    @_asked
    def show(self, owned: Owned) -> None:
        """Keep how the provider shows it now."""
        _rows_of(owned).update(shown=owned.shown, expires=owned.expires)

    @_asked
    def remove(self, owned: Owned) -> None:
        """The provider has deleted it."""
        _rows_of(owned).delete()

    @_asked
    def strangers(self, team: int, names: Sequence[str]) -> Sequence[str]:
        """Which of these ids are files of other teams, or can be nobody's."""
        owners: set[tuple[str, int]] = set()
        asked = [name for name in names if _NUL not in name]
        for at in range(0, len(asked), BATCH):
            rows = OwnedObject.objects.filter(kind="file", upstream_id__in=asked[at : at + BATCH])
            owners.update(rows.values_list("upstream_id", "team_id"))
        strange = [name for name, owner in owners if owner != team and (name, team) not in owners]
        return strange + [name for name in names if _NUL in name]


def _forget(before: int) -> None:
    gone = OwnedObject.objects.filter(kind="file", expires__lt=before).values_list("pk", flat=True)
    if pks := list(gone[:BATCH]):
        OwnedObject.objects.filter(pk__in=pks).delete()


def _rows_of(owned: Owned) -> QuerySet[OwnedObject]:
    return OwnedObject.objects.filter(
        team_id=owned.team, kind=owned.kind, provider_id=owned.provider, upstream_id=owned.id
    )


def _owned(row: OwnedObject) -> Owned:
    kind: Kind = "batch" if row.kind == "batch" else "file"
    return Owned(
        kind=kind,
        id=row.upstream_id,
        team=row.team_id,
        key=row.key_id or 0,
        provider=row.provider_id,
        credential=row.credential_id,
        shown=row.shown if isinstance(row.shown, dict) else {},
    )
