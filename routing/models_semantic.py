"""The columns by which a route says whether like questions get one answer, and the table of their hits."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q

from routing.semantic import LOCAL, MAX_SECONDS, MIN_SECONDS, MIN_THRESHOLD, SECONDS, THRESHOLD

# As routing.semantic.SemanticMode names them.
SEMANTIC_MODES = (
    ("off", "off"),
    ("shadow", "shadow: count what would have been answered"),
    ("on", "on: answer"),
)
# As routing.semantic.Guard names them.
GUARDS = (
    ("words", "words: all but mere form"),
    ("marks", "marks: figures, names in capitals, negations, times, directions"),
    ("off", "off: the vectors alone decide"),
)
# As routing.semantic.ContextRule names them.
CONTEXT_RULES = (
    ("history", "history: any turn, where all before it is the same"),
    ("first", "first: a conversation's first turn"),
)
# As routing.semantic_hits.EventKind names them.
EVENT_KINDS = (("kept", "kept"), ("hit", "hit"), ("shadow", "shadow"))


class SemanticColumns(models.Model):
    """What every route says of like questions."""

    semantic = models.CharField(
        "like questions",
        max_length=8,
        choices=SEMANTIC_MODES,
        # An answer to another question is for the operators to allow, route by route.
        default="off",
        help_text="Whether a cached answer serves a question that means the same, within a team, and only "
        "where everything but the last question is equal. Needs the cache.",
    )
    semantic_threshold = models.FloatField(
        "threshold",
        default=THRESHOLD,
        validators=[MinValueValidator(MIN_THRESHOLD), MaxValueValidator(1.0)],
        help_text="The least cosine of two questions. 0.85 is measured for the embedded model with the guard "
        "over words; for another model find yours in shadow mode. A client may raise it by the header "
        "x-gateway-semantic-threshold.",
    )
    semantic_embedder = models.CharField(
        "vectors from",
        max_length=200,
        default=LOCAL,
        validators=[RegexValidator(r"\A[^\s*]+\Z", "A model name has neither spaces nor stars.")],
        help_text="local: the embedded model, English above all. Or a model of embeddings that a route of "
        "yours takes: each question is then a call of its own, charged to the team.",
    )
    semantic_guard = models.CharField(
        "must be equal in both",
        max_length=8,
        choices=GUARDS,
        default="words",
        help_text="What vectors do not see: 5 and 6, from and to, with and without.",
    )
    semantic_context = models.CharField(
        "turns compared", max_length=8, choices=CONTEXT_RULES, default="history"
    )
    semantic_seconds = models.FloatField(
        "seconds at most",
        default=SECONDS,
        validators=[MinValueValidator(MIN_SECONDS), MaxValueValidator(MAX_SECONDS)],
        help_text="For vector and search together; then the call goes on without. A provider's embeddings "
        "often need 0.5.",
    )
    semantic_prompts = models.BooleanField(
        "write questions down",
        default=False,
        help_text="The texts of questions are kept for 30 days for those who may see them, to judge hits by. "
        "Off: no prompt is ever written down.",
    )

    class Meta:
        abstract = True

    def clean(self) -> None:
        super().clean()
        if self.semantic != "off" and getattr(self, "cache", "off") == "off":
            raise ValidationError({"semantic": "Like questions get answers of the cache: turn that on too."})


def semantic_makes_sense() -> Q:
    """What a database checks of these columns."""
    return (
        Q(semantic__in=[word for word, _ in SEMANTIC_MODES])
        & (Q(semantic="off") | ~Q(cache="off"))
        & Q(semantic_threshold__gte=MIN_THRESHOLD, semantic_threshold__lte=1)
        & ~Q(semantic_embedder="")
        & Q(semantic_guard__in=[word for word, _ in GUARDS])
        & Q(semantic_context__in=[word for word, _ in CONTEXT_RULES])
        & Q(semantic_seconds__gte=MIN_SECONDS, semantic_seconds__lte=MAX_SECONDS)
    )


class SemanticEvent(models.Model):
    """A hit of the semantic cache, a would-be hit, or an answer that was kept. `prompt` is "" unless the
    route has questions written down."""

    at = models.DateTimeField(db_index=True)
    kind = models.CharField(max_length=8, choices=EVENT_KINDS)
    request_id = models.CharField(max_length=128)
    # Numbers, not keys: a team that is gone had its hits, and whoever deletes one does not wait for them.
    team = models.BigIntegerField()
    route = models.BigIntegerField()
    model = models.CharField(max_length=256)
    embedder = models.CharField(max_length=200)
    entry = models.CharField(max_length=64, db_index=True)
    question = models.CharField(max_length=64)
    similarity = models.FloatField()
    threshold = models.FloatField()
    prompt = models.TextField(blank=True)

    class Meta:
        verbose_name = "hit of a like question"
        verbose_name_plural = "hits of like questions"
        ordering = ("-at", "-id")
        permissions = (("view_semantic_prompts", "Can read the questions of semantic hits"),)
        constraints = (
            models.CheckConstraint(
                condition=Q(kind__in=[word for word, _ in EVENT_KINDS]), name="semantic_event_kind_is_known"
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} of {self.entry[:12]}"
