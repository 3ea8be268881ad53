"""How long captures are kept, and how they are forgotten at once."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import F
from django.db.models.functions import Greatest
from django.utils import timezone

from accounts.audit import entry
from accounts.capture.rows import Capture, CaptureCut
from accounts.models import Team

_BATCH = 500


def forget_team(team_id: int) -> int:
    """Delete all captures of a team, those under way too. How many were there. Raises DatabaseError."""
    now = timezone.now()
    row, made = CaptureCut.objects.get_or_create(team_id=team_id, defaults={"before": now})
    if not made:
        CaptureCut.objects.filter(pk=row.pk).update(before=Greatest(F("before"), now))
    count, _ = Capture.objects.filter(team_id=team_id).delete()
    entry(f"captures of team {_name(team_id)}", "forgotten", {"captures": [count, 0]}).save()
    return count


def forget_request(capture: Capture) -> None:
    """Delete one. Raises DatabaseError."""
    entry(f"capture {capture.request_id} of team {_name(capture.team_id)}", "forgotten").save()
    capture.delete()


def looked_at(capture: Capture) -> None:
    """Write down that somebody looks. Before he does: what cannot be written down is not shown."""
    entry(f"capture {capture.request_id} of team {_name(capture.team_id)}", "looked at").save()


def prune() -> int:
    """Delete what is older than its team keeps it, and what teams have left that are gone. How many. Raises
    DatabaseError."""
    now = timezone.now()
    days = dict(Team.objects.values_list("pk", "capture_days"))
    count = 0
    for team_id in Capture.objects.order_by().values_list("team_id", flat=True).distinct():
        rows = Capture.objects.filter(team_id=team_id)
        if team_id in days:
            rows = rows.filter(at__lt=now - timedelta(days=days[team_id]))
        while pks := list(rows.order_by("at").values_list("pk", flat=True)[:_BATCH]):
            count += Capture.objects.filter(pk__in=pks).delete()[0]
    return count


def _name(team_id: int) -> str:
    name = Team.objects.filter(pk=team_id).values_list("name", flat=True).first()
    return name or f"{team_id}, which is gone"
