"""The columns by which a route says whether and how its answers are cached, and the purges of answers."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import Team
from routing.caching import (
    ENTRY_BYTES,
    MAX_ENTRY_BYTES,
    MAX_TEMPERATURE,
    MAX_TTL_SECONDS,
    MIN_ENTRY_BYTES,
    TEMPERATURE,
    TTL_SECONDS,
)

# As routing.caching.CacheMode names them.
CACHE_MODES = (
    ("off", "off"),
    ("exact", "exact: the same request gets the same answer"),
)
# As routing.caching.CacheScope names them.
CACHE_SCOPES = (
    ("team", "team: its keys share answers"),
    ("key", "key: each key has its own"),
)


class CachingColumns(models.Model):
    """What every route says of its cache."""

    cache = models.CharField(
        "cached answers",
        max_length=16,
        choices=CACHE_MODES,
        # An answer that is said again is for the operators to allow, route by route.
        default="off",
        help_text="Answers are kept in the gateway's memory, or in Redis where there is one, and never "
        "shared between teams.",
    )
    cache_ttl = models.PositiveIntegerField(
        "seconds kept",
        default=TTL_SECONDS,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_TTL_SECONDS)],
        help_text="At most. A client may ask for less by the header x-gateway-cache-ttl.",
    )
    cache_scope = models.CharField("shared by", max_length=8, choices=CACHE_SCOPES, default="team")
    cache_max_bytes = models.PositiveIntegerField(
        "bytes of an answer",
        default=ENTRY_BYTES,
        validators=[MinValueValidator(MIN_ENTRY_BYTES), MaxValueValidator(MAX_ENTRY_BYTES)],
        help_text="Longer answers are not kept.",
    )
    cache_tools = models.BooleanField(
        "answers that call tools",
        default=False,
        help_text="Keep them too. Off: what a tool does would be done again for each who gets the answer.",
    )
    cache_temperature = models.FloatField(
        "highest temperature",
        default=TEMPERATURE,
        validators=[MinValueValidator(0.0), MaxValueValidator(MAX_TEMPERATURE)],
        help_text="A request that names a higher one asks for variety, and goes past the cache. One that "
        "names none is cached.",
    )

    class Meta:
        abstract = True


def caching_makes_sense() -> Q:
    """What a database checks of these columns."""
    return (
        Q(cache__in=[word for word, _ in CACHE_MODES])
        & Q(cache_scope__in=[word for word, _ in CACHE_SCOPES])
        & Q(cache_ttl__gte=1, cache_ttl__lte=MAX_TTL_SECONDS)
        & Q(cache_max_bytes__gte=MIN_ENTRY_BYTES, cache_max_bytes__lte=MAX_ENTRY_BYTES)
        & Q(cache_temperature__gte=0, cache_temperature__lte=MAX_TEMPERATURE)
    )


class CachePurge(models.Model):
    """Answers that were kept before it are given to nobody any more, and deleted wherever they are. Written
    once; those that are older than any answer mean nothing."""

    # Who is gone has no answers either.
    team = models.ForeignKey(
        Team, models.CASCADE, null=True, blank=True, related_name="+", help_text="Empty: every team."
    )
    route = models.ForeignKey(
        "routing.Route", models.CASCADE, null=True, blank=True, related_name="+", help_text="Empty: all."
    )
    key = models.CharField(
        "one answer",
        max_length=64,
        blank=True,
        validators=[RegexValidator(r"\A[0-9a-f]{64}\Z", "64 digits in hex, as x-gateway-cache-key says.")],
        help_text="Its key, as the header x-gateway-cache-key of its replies says. Empty: all of them.",
    )
    created = models.DateTimeField(default=timezone.now, editable=False, db_index=True)
    author = models.CharField(max_length=150, editable=False)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        what = f"answer {self.key[:12]}" if self.key else "all answers"
        where = [f"on {self.route}"] if self.route else []
        return " ".join([what, f"of {self.team}" if self.team else "of every team", *where])

    def clean(self) -> None:
        if self.key and (self.team or self.route):
            raise ValidationError("One answer is known by its key alone: leave team and route empty.")
