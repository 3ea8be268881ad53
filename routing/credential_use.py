"""Tells how providers' credentials were used of late, and whether anybody would miss one."""

from __future__ import annotations

from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone

from accounts.key_use import QUIET
from accounts.ledger.rows import CredentialUse
from providers.models import Credential, Provider
from routing.owned import OwnedObject


def with_use(rows: QuerySet[Credential]) -> QuerySet[Any]:
    """Credentials with what `safe_to_remove` reads. `last_used` is as the ledger's writer has it, some
    seconds late, None for never; `counted_since`: when the first use of any was noted; `keeps`: files or
    batches are in its account."""
    # A moment of our own, and not the database's, which each of them writes in its own way.
    now = int(timezone.now().timestamp())
    kept = OwnedObject.objects.filter(Q(expires=None) | Q(expires__gt=now), credential=OuterRef("pk"))
    uses = CredentialUse.objects.order_by()
    return rows.annotate(
        last_used=Subquery(uses.filter(credential_id=OuterRef("pk")).values("last_at")[:1]),
        counted_since=Subquery(uses.order_by("first_at").values("first_at")[:1]),
        keeps=Exists(kept),
    )


def providers_with_use(rows: QuerySet[Provider]) -> QuerySet[Any]:
    """Providers with `last_used`: when a credential that is there now was used last."""
    own = Credential.objects.filter(provider=OuterRef(OuterRef("pk"))).order_by().values("pk")
    last = CredentialUse.objects.filter(credential_id__in=own).order_by("-last_at").values("last_at")[:1]
    return rows.annotate(last_used=Subquery(last))


def safe_to_remove(row: Any) -> bool:
    """Of a row of `with_use`: whether calls do without it. It is disabled; or it was not used for seven days,
    through all of which uses were noted. One whose account keeps files or batches of a team is missed."""
    if row.keeps or not row.enabled:
        return not row.keeps
    since = timezone.now() - QUIET
    noted = row.counted_since is not None and max(row.counted_since, row.created) < since
    return noted and (row.last_used is None or row.last_used < since)
