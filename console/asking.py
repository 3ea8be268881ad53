"""What operators ask of a request, in words, to the question that `pipeline.explain` answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from accounts.keys import display_prefix
from accounts.ledger.rows import RequestEntry
from accounts.ledger.sums import spent
from accounts.rights import Action, may
from accounts.scope import teams_of
from console.apps import Running
from dialects.chat import CHAT
from dialects.errors import GatewayError
from dialects.parse import parse_json, without_bom
from dialects.table import DIALECTS
from dialects.types import Dialect, Facts, JsonObject
from pipeline.explain import explain
from pipeline.explanation import Explanation, Means, Question
from providers.crypto import Vault
from routing.allowances import Budget, Limit
from routing.draft_ways import open_draft, snapshot_of
from routing.drafts import DraftError
from routing.history import UnknownRevisionError
from routing.loader import compile_tables
from routing.models_drafts import OPEN, Draft
from routing.past import Sought, tables_at
from routing.recent import facts_of
from routing.revisions import latest
from routing.snapshot import ApiKey, Snapshot
from routing.tables import read_tables

# Surfaces whose requests are one JSON object; the one that is asked for most comes first.
SURFACES = (
    "chat",
    "messages",
    "responses",
    "completions",
    "embeddings",
    "count_tokens",
    "response_tokens",
    "images",
    "speech",
    "moderations",
    "rerank",
)
_NOT_LIVE = "Live state is not known here: breakers, places, latencies and what is used of limits."
_MAX_DIGITS = 18


class AskingError(Exception):
    """The question cannot be answered. Its words are for whoever asked; no secret is in them."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question. `key`: a prefix or an id, "" for none; `request`: the id of one in the ledger; `revision`:
    a number, "now", or "" for that of the request, or else now; `draft`: the id or name of one that
    can still be published, by whose configuration it is answered; `body`: as a client would send it."""

    key: str = ""
    model: str = ""
    surface: str = ""
    request: str = ""
    revision: str = ""
    draft: str = ""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Sight:
    """What somebody may see: the teams (None: all) whose requests and use, and whether limits and budgets."""

    teams: frozenset[int] | None = None
    limits: bool = True
    budgets: bool = True

    def hides(self, row: Limit | Budget, team: int) -> bool:
        """Whether how a limit or budget of this team's key stands is not his to know."""
        if not (self.budgets if isinstance(row, Budget) else self.limits):
            return True
        # What all have used together is not one team's.
        return self.teams is not None and (row.scope == "everybody" or team not in self.teams)


def sight_of(user: Any) -> Sight:
    """What a member of staff may see."""
    return Sight(teams_of(user), limits=may(user, Action.READ_LIMITS), budgets=may(user, Action.READ_BUDGETS))


ALL = Sight()


def answered(asked: Asked, vault: Vault, running: Running | None, sight: Sight = ALL) -> Explanation:
    """What would become of it. Blocks. Raises AskingError and DatabaseError."""
    row = _row(asked.request, sight)
    notes: list[str] = []
    if asked.draft and asked.revision:
        raise AskingError("Name a draft or a revision, and not both.")
    if asked.draft:
        snapshot, live = _drafted(asked.draft, notes), None
    else:
        number = _revision(asked.revision, row)
        snapshot, live = _configuration(number, _sought(asked.key, row) or Sought(), (vault, running), notes)
    try:
        question = _question(asked, row, snapshot)
    except GatewayError as error:
        raise AskingError(f"The body would be refused with a 400: {error.message}") from None
    if row is not None and question.body is None:
        notes.append(_of_the_past(row))
    key = question.key
    team = key.team.id if key else 0
    rows: tuple[Limit | Budget, ...] = (*key.limits, *key.budgets) if key else ()
    if any(sight.hides(row, team) for row in rows):
        notes.append("Limits or budgets that you may not see are left out.")
    means = Means(
        datetime.now(UTC),
        _spent,
        live.live if live else None,
        live.counted if live else None,
        partial(sight.hides, team=team),
        live.looked if live and _sees(sight, team) else None,
    )
    said = explain(snapshot, question, means)
    said.notes = [*notes, *said.notes]
    return said


def _sees(sight: Sight, team: int) -> bool:
    """Whether what this team has asked before is his to know."""
    return sight.teams is None or team in sight.teams


def configured(key: str, vault: Vault) -> tuple[Snapshot, ApiKey | None]:
    """The configuration as the tables have it, and the key that a prefix or an id means; None: none was
    named. Blocks. Raises AskingError and DatabaseError."""
    snapshot = compile_tables(read_tables(), vault)
    return snapshot, _key(_sought(key, None), snapshot.keys.values())


def _row(request_id: str, sight: Sight) -> RequestEntry | None:
    if not request_id:
        return None
    # PostgreSQL has no word for a zero byte.
    found = RequestEntry.objects.filter(request_id=request_id[:64].replace("\0", "?")).first()
    if found is None or (sight.teams is not None and found.team_id not in sight.teams):
        raise AskingError("The ledger has no request with this id.")
    return found


def _revision(word: str, row: RequestEntry | None) -> int | None:
    """The number; None: as it is now."""
    if word == "now" or (not word and (row is None or not row.revision)):
        return None
    if not word:
        return row.revision if row is not None else None
    if not (word.isascii() and word.isdigit() and len(word) <= _MAX_DIGITS):
        raise AskingError("A revision is a number, or the word now.")
    return int(word)


def _configuration(
    number: int | None, sought: Sought, means: tuple[Vault, Running | None], notes: list[str]
) -> tuple[Snapshot, Running | None]:
    """The snapshot, and what is known of its state at this moment. One of the past has no keys but these."""
    vault, running = means
    if running is not None and number in (None, running.snapshot().revision):
        return running.snapshot(), running
    if number is None or number == latest():
        notes.append(_NOT_LIVE)
        return compile_tables(read_tables(), vault), None
    try:
        tables = tables_at(number, vault, sought)
    except UnknownRevisionError as error:
        raise AskingError(str(error)) from None
    notes.append(
        f"As of revision {number}. What is spent of budgets is as of now, and live state is left out."
    )
    return compile_tables(tables, vault), None


def _drafted(word: str, notes: list[str]) -> Snapshot:
    number = int(word) if word.isascii() and word.isdigit() and len(word) <= _MAX_DIGITS else 0
    draft = Draft.objects.filter(pk=number, state=OPEN).first() or open_draft(word.replace("\0", "?"))
    if draft is None:
        raise AskingError("There is no such draft that can still be published.")
    try:
        snapshot = snapshot_of(draft)
    except DraftError as error:
        raise AskingError(str(error)) from None
    notes.append(f"By the draft {draft}, which steers nothing yet. {_NOT_LIVE}")
    return snapshot


def _question(asked: Asked, row: RequestEntry | None, snapshot: Snapshot) -> Question:
    dialect = _dialect(asked.surface or (row.surface if row else ""))
    key = _key(_sought(asked.key, row), snapshot.keys.values())
    body = _body(asked)
    if body is not None:
        return Question(dialect, dialect.facts(body), key, body)
    if row is not None:
        return Question(dialect, _facts(row, asked.model), key)
    if not asked.model:
        raise AskingError("Name a model, a body, or a request of the ledger.")
    return Question(dialect, Facts(model=asked.model[:256]), key)


def _body(asked: Asked) -> JsonObject | None:
    if not asked.body.strip():
        return None
    body = parse_json(without_bom(asked.body))
    return {**body, "model": asked.model} if asked.model else body


def _facts(row: RequestEntry, model: str) -> Facts:
    return facts_of(
        row.surface,
        model or row.model,
        stream=row.stream,
        tokens=row.reserved_input or row.input_tokens,
        answer=row.reserved_output,
    )


def _of_the_past(row: RequestEntry) -> str:
    ended = f" It went to {row.provider}/{row.upstream_model}." if row.provider else ""
    lost = f" Lost in translation: {row.dropped}." if row.dropped else ""
    words = "The ledger keeps no bodies: what the request needed of a model is not known."
    return f"{words}{ended}{lost}"


def _dialect(surface: str) -> Dialect:
    if not surface:
        return CHAT
    found = DIALECTS.get(surface) if surface in SURFACES else None
    if found is None:
        raise AskingError(f"A surface is one of: {', '.join(SURFACES)}.")
    return found


def _key(sought: Sought | None, keys: Iterable[ApiKey]) -> ApiKey | None:
    if sought is None:
        return None
    found = [key for key in keys if sought.fits(key)]
    if len(found) > 1:
        ids = ", ".join(str(key.id) for key in found)
        raise AskingError(f"Several keys begin so: name one by its id ({ids}).")
    if not found:
        raise AskingError(
            "This configuration has no such key: it is unknown, revoked, or not issued yet. A call with it "
            "is refused with a 401."
        )
    return found[0]


def _sought(word: str, row: RequestEntry | None) -> Sought | None:
    """The keys that a word means, or a request's own where nothing was said; None: a question of no key."""
    if not word:
        return None if row is None else Sought(ids=(row.key_id,))
    word = word.strip()
    if word.isascii() and word.isdigit() and len(word) <= _MAX_DIGITS:
        return Sought(ids=(int(word),))
    # Whoever pastes a whole key means its row.
    return Sought(prefixes=(word, display_prefix(word)))


def _spent(budget: Budget, start: datetime) -> int:
    return spent(budget.unit, start.date(), team_id=budget.team_id, key_id=budget.key_id)
