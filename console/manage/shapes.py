"""What the management API takes and gives, for its checks and for its document."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from rest_framework import serializers

from accounts.allowances import PRIORITIES
from accounts.audit import AuditEntry
from accounts.ledger.rows import AttemptEntry, RequestEntry
from accounts.models import ApiKey
from routing.findings import SEVERITIES

# A year's overlap is a second key, not a rotation.
_MOST_HOURS = 24 * 90


class Keys(serializers.ModelSerializer[ApiKey]):
    """A key, without itself."""

    team = serializers.CharField(source="team.name")
    models = serializers.ListField(source="allowed_models", child=serializers.CharField())
    state = serializers.CharField()

    class Meta:
        model = ApiKey
        fields: tuple[str, ...] = (
            "id",
            "prefix",
            "team",
            "label",
            "state",
            "models",
            "priority",
            "created",
            "expires_at",
            "revoked_at",
            "replaces",
        )
        read_only_fields = ("replaces",)


class KeyAndUse(Keys):
    """A key and, for who may see its team's requests, its use. `last_used` and `requests_7d` are as the
    ledger has them, some seconds late; `safe_to_revoke`: nobody has used it since its successor first
    was used; where there is none, for seven days."""

    last_used = serializers.DateTimeField(allow_null=True, required=False)
    requests_7d = serializers.IntegerField(required=False)
    safe_to_revoke = serializers.BooleanField(required=False)

    class Meta(Keys.Meta):
        fields = (*Keys.Meta.fields, "last_used", "requests_7d", "safe_to_revoke")


class NewKey(serializers.Serializer[Any]):
    """What a key is to be."""

    team = serializers.CharField(max_length=100, help_text="The name of a team that is there.")
    label = serializers.CharField(max_length=100, required=False, default="", allow_blank=True)  # type: ignore[assignment]  # a field of that name, not the field's label
    expires_at = serializers.DateTimeField(required=False, default=None, allow_null=True)
    models = serializers.ListField(
        child=serializers.CharField(max_length=200), required=False, default=list, max_length=1000
    )
    priority = serializers.ChoiceField(list(PRIORITIES), required=False, default="", allow_blank=True)

    def validate_expires_at(self, value: Any) -> Any:
        """A key that nobody could use is a mistake."""
        if value is not None and value <= timezone.now():
            raise serializers.ValidationError("This moment has passed.")
        return value


class Rotation(serializers.Serializer[Any]):
    """How a key is rotated."""

    overlap_hours = serializers.FloatField(
        required=False,
        default=24,
        min_value=0,
        max_value=_MOST_HOURS,
        help_text="How long the old key goes on.",
    )


class Secret(serializers.Serializer[Any]):
    """A new key. It is shown only this once."""

    id = serializers.IntegerField()
    prefix = serializers.CharField()
    key = serializers.CharField()
    revision = serializers.IntegerField()


class Published(serializers.Serializer[Any]):
    """What was changed, in lines; what could not be; and the revision, null where nothing changed."""

    changes = serializers.ListField(child=serializers.CharField())
    notes = serializers.ListField(child=serializers.CharField())
    revision = serializers.IntegerField(allow_null=True)
    draft = serializers.IntegerField(required=False, help_text="That it went into, where one was named.")


class Planned(Published):
    """What would change. `impact`: on recent requests, for who may see those."""

    impact = serializers.JSONField(required=False)


class Revisions(serializers.Serializer[Any]):
    """A change of the configuration."""

    number = serializers.IntegerField()
    at = serializers.DateTimeField()
    author = serializers.CharField()
    approved_by = serializers.CharField(help_text="Who else looked at it, where that was asked for.")
    reason = serializers.CharField()
    changes = serializers.ListField(child=serializers.CharField())


class Question(serializers.Serializer[Any]):
    """What to explain: a model as a key asks for it, a request's body, or a request of the ledger. By the
    configuration of now, of a `revision`, or as a `draft` (its id or name) would have it."""

    key = serializers.CharField(required=False, default="", max_length=512, allow_blank=True)
    model = serializers.CharField(required=False, default="", max_length=256, allow_blank=True)
    surface = serializers.CharField(required=False, default="", max_length=40, allow_blank=True)
    request = serializers.CharField(required=False, default="", max_length=100, allow_blank=True)
    revision = serializers.CharField(required=False, default="", max_length=20, allow_blank=True)
    draft = serializers.CharField(required=False, default="", max_length=100, allow_blank=True)
    body = serializers.JSONField(required=False, default=None)


class Purge(serializers.Serializer[Any]):
    """Whose cached answers are given to nobody any more; neither: everybody's."""

    team = serializers.CharField(required=False, default=None, allow_null=True, max_length=100)
    route = serializers.CharField(required=False, default=None, allow_null=True, max_length=200)


class Requests(serializers.ModelSerializer[RequestEntry]):
    """A request of the ledger. Money is nano-dollars, rates pico-dollars per token, times milliseconds."""

    class Meta:
        model = RequestEntry
        exclude: tuple[str, ...] = ("id", "process")


class Attempts(serializers.ModelSerializer[AttemptEntry]):
    """What was tried for a request."""

    class Meta:
        model = AttemptEntry
        exclude = ("id", "request")


class RequestWhole(Requests):
    """A request with its attempts."""

    attempts = Attempts(many=True)


class Audited(serializers.ModelSerializer[AuditEntry]):
    """An entry of the audit log. `changes`: of each field what was and what is."""

    class Meta:
        model = AuditEntry
        exclude = ()


class BreakerNow(serializers.Serializer[Any]):
    """The breaker of one model of a provider; `seconds` until it lets somebody through."""

    provider = serializers.CharField()
    provider_id = serializers.IntegerField()
    mode = serializers.CharField()
    model = serializers.CharField()
    state = serializers.CharField()
    seconds = serializers.FloatField()


class KindOfFinding(serializers.Serializer[Any]):
    """How many findings a check has at a severity."""

    check = serializers.CharField()
    severity = serializers.ChoiceField(list(SEVERITIES))
    count = serializers.IntegerField()


class RowOfFinding(serializers.Serializer[Any]):
    """A row that a finding is about."""

    table = serializers.CharField()
    id = serializers.IntegerField()
    name = serializers.CharField()


class FindingOfLint(serializers.Serializer[Any]):
    """What is not well. `others`: the first twenty rows that have part in it, of `others_in_all`."""

    check = serializers.CharField()
    severity = serializers.ChoiceField(list(SEVERITIES))
    where = RowOfFinding()
    words = serializers.CharField()
    mend = serializers.CharField()
    others = RowOfFinding(many=True)
    others_in_all = serializers.IntegerField()


class Findings(serializers.Serializer[Any]):
    """A page of findings. `kinds`: of all there are; `total`: how many are chosen; `next`: what to skip for
    the page after this one, null where it is the last."""

    kinds = KindOfFinding(many=True)
    total = serializers.IntegerField()
    findings = FindingOfLint(many=True)
    next = serializers.IntegerField(allow_null=True)


class Cached(serializers.Serializer[Any]):
    """What a team has in the cache."""

    team_id = serializers.IntegerField()
    team = serializers.CharField()
    answers = serializers.IntegerField()
    bytes = serializers.IntegerField()


class KeyEdits(serializers.ModelSerializer[ApiKey]):
    """What may be changed of a key."""

    models = serializers.ListField(
        source="allowed_models", child=serializers.CharField(max_length=200), max_length=1000
    )

    class Meta:
        model = ApiKey
        fields = ("label", "priority", "expires_at", "models")


class Undoing(serializers.Serializer[Any]):
    """What of a revision is taken back: the rows named as `objects` of the revision; without, all."""

    objects = serializers.ListField(
        child=serializers.CharField(max_length=40), required=False, max_length=1000
    )


class ChangedRow(serializers.Serializer[Any]):
    """A row that a revision changed, each field with what was and what is."""

    object = serializers.CharField()
    name = serializers.CharField()
    changes = serializers.JSONField()


class RevisionWhole(Revisions):
    """A change, row by row. `objects` is empty for the first that is recorded, and for older ones."""

    objects = ChangedRow(many=True)
