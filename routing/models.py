"""Rows of the map: routes from model names to targets, and numbered revisions of all that steers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import Team
from providers.models import MAX_SECONDS, Provider, validate_seconds
from routing.models_approvals import Approval
from routing.models_cache import CachePurge as CachePurge
from routing.models_cache import CachingColumns, caching_makes_sense
from routing.models_drafts import Draft as Draft
from routing.models_drafts import DraftRow as DraftRow
from routing.models_history import RowVersion as RowVersion  # Django looks for models here
from routing.models_measures import Measure
from routing.models_semantic import SemanticColumns, semantic_makes_sense
from routing.owned import OwnedObject

__all__ = (
    "Approval",
    "Measure",
    "OwnedObject",
    "Revision",
    "Route",
    "RowVersion",
    "Target",
    "TranslationLoss",
)

_PATTERN = RegexValidator(
    r"\A([^\s*]+|[^\s*]*\*)\Z",
    "A model name, or a prefix that ends in one star such as gpt-*. No spaces, no star elsewhere.",
)
# More would be a typing error: shares are relative, and the order of tiers is short.
MAX_WEIGHT = 1_000_000
MAX_TIER = 1000
# A patch sets a few fields; a larger one is a mistake and would be sent with every call.
MAX_PATCH = 16 * 1024
# Fields that the gateway itself decides: a patch of them would break streams or send calls elsewhere.
RESERVED_FIELDS = frozenset({"model", "stream", "stream_options", "messages", "prompt", "input"})

# As routing.snapshot.Losses names them.
LOSSES = (
    ("strict", "strict: refuse the call"),
    ("warn", "warn: drop, and name it in a header"),
    ("silent", "silent: drop"),
)

# As routing.snapshot.Balance names them.
BALANCES = (
    ("weighted", "weighted: a draw in proportion to the weights"),
    ("least_in_flight", "least in flight: the one with the fewest open calls for its weight"),
    ("latency", "latency: of two drawn the quicker to its first byte"),
    ("cheapest", "cheapest: by the catalogue's prices for this request"),
    ("ordered", "ordered: as they stand, the first while it can"),
)
# As routing.snapshot.Affinity names them.
AFFINITIES = (
    ("none", "none"),
    ("key", "key: each API key stays with its share of the targets"),
    ("session", "session: calls of one session stay together"),
)
# As routing.snapshot.Integrity names them.
INTEGRITIES = (
    ("fast", "fast: as it comes"),
    ("hold-first", "hold first: from the first content"),
    ("atomic", "atomic: when it is complete"),
)
# As routing.snapshot.OnDisconnect names them.
ON_DISCONNECT = (
    ("cancel", "cancel: it is closed at the provider, and its cost estimated"),
    ("drain", "drain: it is read to its end, half a minute at most, and its cost known"),
)
# As routing.snapshot.FailureClass names them.
FAILURES = ("outage", "rate_limit", "context_length", "content_policy")
# As many attempts as there are in all.
MAX_TRIES = 3


def validate_failures(value: object) -> None:
    """A list of the words in FAILURES. Raises ValidationError."""
    if not isinstance(value, list) or not all(word in FAILURES for word in value):
        raise ValidationError(f"Expected a list of words among {', '.join(FAILURES)}.")


def _own_seconds(help_text: str) -> models.FloatField[float | None, float | None]:
    return models.FloatField(null=True, blank=True, validators=[validate_seconds], help_text=help_text)


def validate_patch(value: object) -> None:
    """A JSON object of top-level fields, none of which the gateway decides itself."""
    if not isinstance(value, dict):
        raise ValidationError('Expected an object of fields, such as {"temperature": 0}.')
    reserved = sorted(RESERVED_FIELDS & value.keys())
    if reserved:
        raise ValidationError(f"The gateway sets {', '.join(reserved)} itself.")
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError) as error:
        raise ValidationError("It holds a value that JSON cannot hold.") from error
    if len(text) > MAX_PATCH:
        raise ValidationError(f"At most {MAX_PATCH} bytes.")
    if b"\\u0000" in text:
        raise ValidationError("It holds a NUL character, which PostgreSQL cannot store.")


def check_targets(targets: Iterable[tuple[int, bool, Sequence[str]]]) -> None:
    """Refuse targets, each a weight, whether it is enabled, and what it waits for, of which none can take
    a call. Raises ValidationError."""
    if not any(enabled and weight > 0 and not after for weight, enabled, after in targets):
        raise ValidationError(
            "A route needs at least one enabled target with a weight above 0 that does not wait for a "
            "failure; to stop it, disable the route."
        )


def check_route(targets: Iterable[Target]) -> None:
    """Refuse a route's targets of which none can take a call, or two are the same: a call that failed there
    would be tried there again in the place of another. Raises ValidationError."""
    rows = list(targets)
    check_targets((row.weight, row.enabled, row.after) for row in rows)
    same = [(row.provider_id, row.upstream_model, row.body_patch, sorted(row.after)) for row in rows]
    if any(one in same[:index] for index, one in enumerate(same)):
        raise ValidationError("Two targets of the route are the same: one with the weight of both will do.")


class Route(CachingColumns, SemanticColumns):
    """Model name to targets. Exact before prefix, the longest prefix first, a team's own before common,
    then the higher priority."""

    name = models.CharField(max_length=200, unique=True, help_text="Its name in logs. Empty: the pattern.")
    pattern = models.CharField(
        max_length=200,
        db_index=True,
        validators=[_PATTERN],
        help_text="The model that clients ask for, or a prefix such as gpt-*. The longest match wins; * "
        "alone takes what is left.",
    )
    priority = models.IntegerField(
        default=0,
        help_text="Among routes with the same pattern and team the highest wins: put a changed copy above, "
        "disable it to go back.",
    )
    team = models.ForeignKey(
        Team,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="routes",
        help_text="Only this team sees it, and it wins over the common one. Empty: every team.",
    )
    losses = models.CharField(
        "fields that cannot travel",
        max_length=8,
        choices=LOSSES,
        # The caller learns of a loss and the call is answered all the same.
        default="warn",
        help_text="A client's field that the provider's dialect has no place for. Strict: the call goes to a "
        "target that takes it, or is refused with a 400 that names the field. Warn: dropped, and named in "
        "the header x-gateway-dropped. Silent: dropped without the header. All of them are counted.",
    )
    balance = models.CharField(
        max_length=16,
        choices=BALANCES,
        # What weights mean everywhere.
        default="weighted",
        help_text="Which of a tier's targets is asked first.",
    )
    affinity = models.CharField(
        max_length=8,
        choices=AFFINITIES,
        # Costs a provider's cache of prompts some hits, and spreads the load best.
        default="none",
        help_text="What keeps calls with one target, by weight, while it is well; then the balance does not "
        "matter. A session is the header x-session-id, the body's prompt_cache_key or its user.",
    )
    integrity = models.CharField(
        "streams belong to the client",
        max_length=10,
        choices=INTEGRITIES,
        # A stream that dies before it has said anything is tried elsewhere, and no token comes later for it.
        default="hold-first",
        help_text="Until then a broken stream is tried again unseen; after it, it ends with an error. Atomic "
        "gives whole answers only, and no token before the last.",
    )
    on_disconnect = models.CharField(
        "when the client leaves a stream",
        max_length=8,
        choices=ON_DISCONNECT,
        # Tokens that nobody reads are not worth their price.
        default="cancel",
        help_text="Clients that leave before the last chunk are billed by an estimate, or by what the "
        "provider counts.",
    )
    tries = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_TRIES)],
        help_text="How often a target is asked before the next, with a pause between. A request is tried "
        "three times at most in all, and the last target as often as that leaves.",
    )
    late_fallback = models.BooleanField(
        # Who pays twice has to want it.
        default=False,
        help_text="When a whole answer has not begun in time, another target is asked, though the first may "
        "still write its answer and bill it. Streams are asked elsewhere in any case.",
    )
    queue_seconds = models.FloatField(
        default=10.0,
        validators=[MinValueValidator(0.0), MaxValueValidator(MAX_SECONDS)],
        help_text="How long a call waits while all its targets are at their limits. 0: refused at once.",
    )
    queue_limit = models.PositiveIntegerField(
        default=100,
        validators=[MaxValueValidator(MAX_WEIGHT)],
        help_text="How many calls may wait, in each process; more are refused at once.",
    )
    connect_timeout = _own_seconds("Seconds until connected. Empty: the provider's.")
    first_byte_timeout = _own_seconds("Seconds until an answer that is not streamed begins.")
    first_byte_stream_timeout = _own_seconds("Seconds until a stream begins.")
    idle_timeout = _own_seconds("Seconds without a byte after which an answer counts as dead.")
    total_timeout = _own_seconds("Seconds for a whole call, its retries included.")
    client_stall_timeout = _own_seconds("Seconds for which a client may take nothing of a stream.")
    enabled = models.BooleanField(default=True, help_text="Off: as if it did not exist.")
    managed_by_env = models.BooleanField(
        "follows the environment",
        default=False,
        help_text="Its target is the default provider that the environment or config.yaml names at each "
        "start. An edit here turns this off.",
    )

    class Meta:
        ordering = ("pattern", "-priority", "id")
        constraints = (
            models.CheckConstraint(condition=~Q(name="") & ~Q(pattern=""), name="route_has_name_and_pattern"),
            models.CheckConstraint(
                condition=Q(losses__in=[word for word, _ in LOSSES]), name="route_losses_is_known"
            ),
            models.CheckConstraint(
                condition=Q(balance__in=[word for word, _ in BALANCES])
                & Q(affinity__in=[word for word, _ in AFFINITIES])
                & Q(integrity__in=[word for word, _ in INTEGRITIES])
                & Q(on_disconnect__in=[word for word, _ in ON_DISCONNECT]),
                name="route_words_are_known",
            ),
            models.CheckConstraint(
                condition=Q(tries__gte=1) & Q(tries__lte=MAX_TRIES) & Q(queue_seconds__gte=0),
                name="route_figures_make_sense",
            ),
            models.CheckConstraint(condition=caching_makes_sense(), name="route_caching_makes_sense"),
            models.CheckConstraint(condition=semantic_makes_sense(), name="route_semantic_makes_sense"),
            # In two, because NULL differs from NULL.
            models.UniqueConstraint(
                fields=("pattern", "priority"),
                condition=Q(team__isnull=True),
                name="route_pattern_once_in_common",
                violation_error_message="A common route with this pattern and priority exists.",
            ),
            models.UniqueConstraint(
                fields=("pattern", "team", "priority"),
                condition=Q(team__isnull=False),
                name="route_pattern_once_per_team",
                violation_error_message="This team has a route with this pattern and priority.",
            ),
        )

    def __str__(self) -> str:
        return self.name


class Target(models.Model):
    """One place a route can go."""

    route = models.ForeignKey(Route, models.CASCADE, related_name="targets")
    # A provider in use cannot be deleted by mistake: disable it, or move its targets first.
    provider = models.ForeignKey(Provider, models.PROTECT, related_name="targets")
    upstream_model = models.CharField(
        max_length=200,
        blank=True,
        validators=[RegexValidator(r"\A[^\s*]*\Z", "A model name has neither spaces nor stars.")],
        help_text="The provider's name for the model. Empty: the name that the client used.",
    )
    tier = models.PositiveIntegerField(
        default=0, validators=[MaxValueValidator(MAX_TIER)], help_text="Lower is tried first."
    )
    weight = models.PositiveIntegerField(
        default=1,
        validators=[MaxValueValidator(MAX_WEIGHT)],
        help_text="Share within its tier; 0 takes no calls.",
    )
    body_patch = models.JSONField(
        default=dict,
        blank=True,
        validators=[validate_patch],
        help_text='Top-level fields set on what is sent, such as {"temperature": 0}; null removes one.',
    )
    after = models.JSONField(
        "only after",
        default=list,
        blank=True,
        validators=[validate_failures],
        help_text="Empty: an ordinary target. Else it is tried only when another has failed in one of these "
        f"ways: {', '.join(FAILURES)}.",
    )
    max_in_flight = models.PositiveIntegerField(
        "at once",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_WEIGHT)],
        help_text="Calls that it takes at once from each process; more wait. Empty: as many as come.",
    )
    enabled = models.BooleanField(default=True)

    class Meta:
        ordering = ("tier", "-weight", "id")
        constraints = (
            models.CheckConstraint(condition=Q(weight__gte=0), name="target_weight_not_negative"),
            models.CheckConstraint(condition=Q(tier__gte=0), name="target_tier_not_negative"),
            models.CheckConstraint(
                condition=Q(max_in_flight__isnull=True) | Q(max_in_flight__gt=0),
                name="target_max_in_flight_above_0",
            ),
        )

    def __str__(self) -> str:
        return f"{self.provider}/{self.upstream_model}" if self.upstream_model else str(self.provider)

    def clean(self) -> None:
        # Django runs no validator on what is empty, and an empty list is not an empty object.
        self.body_patch = self.body_patch or {}
        self.after = self.after or []


class Revision(models.Model):
    """One published change of anything that steers traffic. Written once, never changed.

    `summary`: a list of changes, each an object with `object`, `action` and `fields`; no secret is in it.
    """

    number = models.BigIntegerField(primary_key=True)
    created = models.DateTimeField(default=timezone.now, editable=False, db_index=True)
    author = models.CharField(max_length=150)
    reason = models.CharField(max_length=500)
    summary = models.JSONField(default=list)
    approved_by = models.CharField(max_length=150, blank=True, default="", db_default="")

    class Meta:
        ordering = ("-number",)
        constraints = (models.CheckConstraint(condition=Q(number__gte=0), name="revision_not_negative"),)

    def __str__(self) -> str:
        return f"revision {self.number}"


class TranslationLoss(models.Model):
    """How often a client's field could not travel, by day (UTC). Written by every process, by adding."""

    day = models.DateField()
    # Names as they were on that day, not keys: a route that is gone still lost what it lost.
    route = models.CharField(max_length=200)
    provider = models.CharField(max_length=64)
    surface = models.CharField(max_length=32)
    model = models.CharField(max_length=200)
    field = models.CharField(max_length=64)
    refused = models.BooleanField(default=False)
    count = models.BigIntegerField(default=0)
    last_seen = models.DateTimeField()

    class Meta:
        verbose_name_plural = "translation losses"
        ordering = ("-day", "-count", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("day", "route", "provider", "surface", "model", "field", "refused"),
                name="loss_once_per_day",
            ),
            models.CheckConstraint(condition=Q(count__gte=0), name="loss_count_not_negative"),
        )

    def __str__(self) -> str:
        return f"{self.field} on {self.route}"
