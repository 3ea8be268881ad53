"""Rows of who calls: teams, and the keys that prove it, stored as a shown prefix and a keyed hash.

What they may use is beside, in allowances; what they have used, in ledger.rows.
"""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.allowances import MODEL_ENTRY, PRIORITIES, Budget, Limit
from accounts.audit import AuditEntry
from accounts.capture.redact import BadPatternError, check
from accounts.capture.rows import Capture, CaptureCut
from accounts.identities import Identity, SpentSignIn
from accounts.ledger.rows import (
    AttemptEntry,
    CredentialUse,
    LedgerCut,
    LedgerProcess,
    RequestEntry,
    UsageDay,
    UsageFold,
)
from accounts.tokens import ManagementToken

__all__ = (
    "ApiKey",
    "ApiKeyQuerySet",
    "AttemptEntry",
    "AuditEntry",
    "Budget",
    "Capture",
    "CaptureCut",
    "CredentialUse",
    "Identity",
    "LedgerCut",
    "LedgerProcess",
    "Limit",
    "ManagementToken",
    "RequestEntry",
    "SpentSignIn",
    "Team",
    "TeamMember",
    "UsageDay",
    "UsageFold",
    "validate_model_entries",
)

_NAME = RegexValidator(r"\A\S(.*\S)?\Z", "A name neither begins nor ends with a space and has one line.")


def validate_model_entries(value: object) -> None:
    """A list of model names or `prefix*`. Raises ValidationError."""
    if not isinstance(value, list):
        raise ValidationError("Expected a list of model names.")
    for entry in value:
        if not isinstance(entry, str) or not entry or len(entry) > 200:
            raise ValidationError("Each entry must be a model name of at most 200 characters.")
        MODEL_ENTRY(entry)


CAPTURES = (
    ("off", "off"),
    ("all", "every call"),
    ("errors", "calls that failed"),
    ("share", "a share of all calls"),
)


def validate_capture_patterns(value: object) -> None:
    """Patterns that can be used. Raises ValidationError."""
    try:
        check(value)
    except BadPatternError as error:
        raise ValidationError(str(error)) from None


class Team(models.Model):
    """Who a key belongs to, and whose routes it sees."""

    name = models.CharField(
        max_length=100, unique=True, validators=[_NAME], help_text="Shown in usage, logs and metrics."
    )
    priority = models.CharField(
        max_length=6,
        choices=PRIORITIES,
        # Room to set a team above the others, and one below.
        default="normal",
        help_text="Who waits and who is refused first when there is too much to do.",
    )
    batches = models.BooleanField(
        "batches beside limits",
        # What a batch uses is counted by nobody here.
        default=False,
        help_text="On: its keys may make batches although limits or budgets hold for them. What a batch uses "
        "is not counted against those; the models in it are checked in any case.",
    )
    capture = models.CharField(
        "prompt capture",
        max_length=6,
        choices=CAPTURES,
        # Prompts are nobody's business but the team's.
        default="off",
        help_text="Of which calls the prompt and the answer are kept, redacted and sealed.",
    )
    capture_share = models.PositiveSmallIntegerField(
        "share of calls that are captured",
        # Enough to see what goes on.
        default=10,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="In percent, where a share of all calls is captured.",
    )
    capture_days = models.PositiveSmallIntegerField(
        "days that captures are kept",
        # Long enough to look into what somebody complains of.
        default=7,
        validators=[MinValueValidator(1), MaxValueValidator(90)],
        help_text="From 1 to 90. Fewer days delete at once what is older.",
    )
    capture_kilobytes = models.PositiveSmallIntegerField(
        "most that is captured of each side",
        # A long conversation in text.
        default=64,
        validators=[MinValueValidator(1), MaxValueValidator(1024)],
        help_text="KiB of the prompt, and as many of the answer; from 1 to 1024. What is longer is cut.",
    )
    capture_patterns = models.JSONField(
        "patterns redacted besides",
        default=list,
        blank=True,
        validators=[validate_capture_patterns],
        help_text='A JSON list of at most 20 patterns (RE2), such as ["customer-[0-9]+"]. Secrets, e-mail '
        "addresses and card numbers are redacted in any case.",
    )
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("name",)
        constraints = (
            models.CheckConstraint(
                condition=Q(capture__in=[word for word, _ in CAPTURES]), name="team_capture_is_known"
            ),
            models.CheckConstraint(condition=~Q(name=""), name="team_has_a_name"),
            models.CheckConstraint(
                condition=Q(priority__in=[word for word, _ in PRIORITIES]), name="team_priority_is_known"
            ),
        )

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        # Django runs no validator on what is empty, and an empty object is not an empty list.
        self.capture_patterns = self.capture_patterns or []


class TeamMember(models.Model):
    """A member of staff who sees a team's requests and usage in the admin. scope.py says what follows."""

    user = models.ForeignKey("auth.User", models.CASCADE, related_name="team_members")
    team = models.ForeignKey(Team, models.CASCADE, related_name="members")

    class Meta:
        verbose_name = "team of a user"
        verbose_name_plural = "teams whose requests and usage this user sees"
        ordering = ("team__name",)
        constraints = (models.UniqueConstraint(fields=("user", "team"), name="team_member_once"),)
        permissions = (("view_every_team", "Can see requests and usage of every team"),)

    def __str__(self) -> str:
        return f"{self.user} in {self.team}"


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    """Keys by their state."""

    def usable(self) -> ApiKeyQuerySet:
        """Neither revoked nor expired."""
        return self.filter(revoked_at=None).exclude(expires_at__lte=timezone.now())


class ApiKey(models.Model):
    """A gateway key. The key itself is shown once when it is issued and never stored."""

    # A team that has had keys stays, so that what they did can be told.
    team = models.ForeignKey(Team, models.PROTECT, related_name="keys")
    label = models.CharField(
        max_length=100, blank=True, help_text="What the key is for, so that it can be told from its siblings."
    )
    prefix = models.CharField(max_length=16, db_index=True, editable=False)
    # Hexadecimal, because every tool can show and compare it.
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(
        null=True, blank=True, help_text="From this moment the key is refused. Empty: never."
    )
    allowed_models = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_model_entries],
        help_text="Model names or prefixes such as gpt-*. Empty: every model.",
    )
    priority = models.CharField(
        max_length=6, choices=PRIORITIES, blank=True, default="", help_text="Empty: that of its team."
    )
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    replaces = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, editable=False, related_name="successors"
    )

    objects = ApiKeyQuerySet.as_manager()

    # The key itself, in memory only, on the row that has just been issued in the admin.
    issued_key: str | None = None
    # Beside it: what it awaits before it works.
    approval: object = None

    class Meta:
        verbose_name = "API key"
        ordering = ("-created", "-id")
        constraints = (
            models.CheckConstraint(condition=~Q(digest=""), name="apikey_has_a_digest"),
            models.CheckConstraint(
                condition=Q(priority__in=["", *(word for word, _ in PRIORITIES)]),
                name="apikey_priority_is_known",
            ),
        )

    def __str__(self) -> str:
        return f"{self.prefix}…" + (f" ({self.label})" if self.label else "")

    def clean(self) -> None:
        # Django runs no validator on what is empty, and an empty object is not an empty list.
        self.allowed_models = self.allowed_models or []

    @property
    def state(self) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= timezone.now():
            return "expired"
        return "active"
