"""What counts as a risky change of the configuration: the one table of it, by groups that a deployment
chooses from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from routing.history import Place, State, Values

# As long as a key of the playground: nobody waits for somebody else to try something.
SHORT = timedelta(minutes=30)
_PRICES = ("input_price", "output_price", "cache_read_price", "cache_write_price")


@dataclass(frozen=True, slots=True)
class Row:
    """One row that changes: how it was and is to be, None for not at all, and all rows as they are to be.
    `replaced`: its secret is another one; `new_routes`: ids of those that are added with it."""

    was: Values | None
    now: Values | None
    after: State
    at: datetime
    number: int = 0
    replaced: bool = False
    new_routes: frozenset[int] = frozenset()

    @property
    def added(self) -> bool:
        """It was not there."""
        return self.was is None

    @property
    def gone(self) -> bool:
        """It was there."""
        return self.now is None

    def of(self, column: str, otherwise: Any = None) -> tuple[Any, Any]:
        """A column's value before and after."""
        return (self.was or {}).get(column, otherwise), (self.now or {}).get(column, otherwise)

    def differs(self, *columns: str) -> bool:
        """Of a row that stays, one of these columns. One that a newer version added is no change."""
        was, now = self.was, self.now
        if was is None or now is None:
            return False
        return any(column in was and was[column] != now.get(column) for column in columns)

    def turned(self, column: str, *, on: bool) -> bool:
        """Whether a switch is turned; what is added was off before."""
        was, now = self.of(column, otherwise=False)
        return bool(was) is not on and bool(now) is on


class Risk(NamedTuple):
    """A line of the table."""

    group: str
    table: str
    words: str
    found: Callable[[Row], bool]


class Found(NamedTuple):
    """A risky change of one row."""

    place: Place
    words: str


def _off(row: Row) -> bool:
    return row.gone or (not row.added and row.turned("enabled", on=False))


def _default(row: Row) -> bool:
    return any((values or {}).get("pattern") == "*" for values in (row.was, row.now))


def _of_default(row: Row) -> bool:
    ids = {(values or {}).get("route_id") for values in (row.was, row.now)}
    return any(
        place.table == "route" and place.row in ids and values.get("pattern") == "*"
        for place, values in row.after.items()
    )


def _stands_before(row: Row) -> bool:
    """A route begins to take calls that another one took. Those of `*` are for whoever names them."""
    now = row.now
    if now is None or not now["enabled"] or not (row.added or row.turned("enabled", on=True)):
        return False
    return any(
        place.table == "route"
        and place.row not in {row.number, *row.new_routes}
        and other["enabled"]
        and other["pattern"] != "*"
        and _takes_from(now, other)
        for place, other in row.after.items()
    )


def _takes_from(route: Values, other: Values) -> bool:
    """As snapshots order them: the longer pattern first, then a team's own, then by priority."""
    if len({route["team_id"], other["team_id"]} - {None}) > 1:
        return False
    if route["pattern"] == other["pattern"]:
        first, second = ((each["team_id"] is None, -each["priority"]) for each in (route, other))
        return first < second
    return _within(route["pattern"], other["pattern"])


def _led_here(row: Row) -> bool:
    """A target of a route that was there begins to take calls."""
    now = row.now
    return (
        now is not None
        and _takes_calls(now)
        and not _takes_calls(row.was)
        and now["route_id"] not in row.new_routes
    )


def _takes_calls(values: Values | None) -> bool:
    return bool(values and values.get("enabled") and values.get("weight") and not values.get("after"))


def _led_away(row: Row) -> bool:
    """A target that took calls does so no more, or elsewhere."""
    if not _takes_calls(row.was):
        return False
    return not _takes_calls(row.now) or row.differs("provider_id", "upstream_model", "route_id")


def _more(column: str) -> Callable[[Row], bool]:
    def raised(row: Row) -> bool:
        was, now = row.of(column)
        return was is not None and now is not None and Decimal(str(now)) > Decimal(str(was))

    return raised


def _issued(row: Row) -> bool:
    """A new key that is no successor of one that may as much, and does not end soon."""
    if not row.added or row.now is None or _ends(row.now, row.at + SHORT):
        return False
    predecessor = _row(row, "key", row.now.get("replaces_id"))
    return (
        predecessor is None
        or predecessor["team_id"] != row.now["team_id"]
        or not _covers(predecessor["allowed_models"], row.now["allowed_models"])
    )


def _ends(key: Values, by: datetime) -> bool:
    until = key.get("expires_at")
    return until is not None and datetime.fromisoformat(until) <= by


def _begins_anew(row: Row) -> bool:
    """A successor with a budget of its own, of which nothing is spent yet; or with a limit of its own, and
    the key before goes on beside it."""
    if not row.added or row.now is None:
        return False
    predecessor = _row(row, "key", row.now.get("replaces_id"))
    return predecessor is not None and (
        _has(row, "budget") or (_has(row, "limit") and not _ends(predecessor, row.at))
    )


def _has(row: Row, table: str) -> bool:
    return any(each.get("key_id") == row.number for place, each in row.after.items() if place.table == table)


def _row(row: Row, table: str, number: Any) -> Values | None:
    return next(
        (each for place, each in row.after.items() if place.table == table and place.row == number), None
    )


def _widened(row: Row) -> bool:
    return row.differs("allowed_models") and not _covers(*row.of("allowed_models"))


def _covers(was: Collection[str], now: Collection[str]) -> bool:
    """Whether a list of models allows all that another does. An empty one allows everything."""
    if not was:
        return True
    return bool(now) and all(any(_within(entry, each) for each in was) for entry in now)


def _within(entry: str, other: str) -> bool:
    return entry == other or (other.endswith("*") and entry.startswith(other[:-1]))


def _longer(row: Row) -> bool:
    """It ends later than it did, or not at all."""
    was, now = row.of("expires_at")
    if row.added or row.gone or was is None or was == now:
        return False
    return now is None or datetime.fromisoformat(now) > datetime.fromisoformat(was)


def _unrevoked(row: Row) -> bool:
    was, now = row.of("revoked_at")
    return not row.gone and was is not None and now is None


def _captures_more(row: Row) -> bool:
    if (row.now or {}).get("capture", "off") == "off":
        return False
    fewer = set(row.of("capture_patterns", [])[0] or ()) - set(row.of("capture_patterns", [])[1] or ())
    was, now = row.of("capture", "off")
    more = any(_more(column)(row) for column in ("capture_share", "capture_kilobytes"))
    return was != now or bool(fewer) or more


def _keeps_answers(row: Row) -> bool:
    if row.gone:
        return False
    on = any(was == "off" and now not in ("off", None) for was, now in map(_mode(row), ("cache", "semantic")))
    return on or row.of("cache_scope") == ("key", "team") or row.turned("semantic_prompts", on=True)


def _mode(row: Row) -> Callable[[str], tuple[Any, Any]]:
    return lambda column: row.of(column, "off")


# Providers are renamed under limits that name them, and rows of prices are added over others: either takes
# away what was there as surely as a deletion.
RISKS: tuple[Risk, ...] = (
    Risk("providers", "provider", "is a new place that prompts go to", lambda row: row.added),
    Risk(
        "providers",
        "provider",
        "gets another address, kind or name, or into the private network",
        lambda row: row.differs("base_url", "kind", "name") or row.turned("allow_private_addresses", on=True),
    ),
    Risk("providers", "provider", "is deleted or disabled", _off),
    Risk(
        "credentials",
        "credential",
        "is added, deleted, replaced, enabled or disabled",
        lambda row: row.added or row.gone or row.replaced or row.differs("last4", "enabled", "provider_id"),
    ),
    Risk("routes", "route", "is deleted or disabled", _off),
    Risk("routes", "route", "is for other names or teams", lambda row: row.differs("pattern", "team_id")),
    Risk("routes", "route", "goes before or after others", lambda row: row.differs("priority")),
    Risk("routes", "route", "takes what no other route does", _default),
    Risk("routes", "route", "takes calls of another route", _stands_before),
    Risk("routes", "target", "takes calls no more, or elsewhere", _led_away),
    Risk("routes", "target", "begins to take calls of a route that is there", _led_here),
    Risk("routes", "target", "is of the route that takes what no other does", _of_default),
    Risk("allowances", "limit", "is deleted or disabled", _off),
    Risk("allowances", "limit", "is raised", _more("amount")),
    Risk(
        "allowances",
        "limit",
        "is of something else",
        lambda row: row.differs("team_id", "key_id", "kind", "per", "model", "provider"),
    ),
    Risk("allowances", "budget", "is deleted or disabled", _off),
    Risk("allowances", "budget", "is raised", _more("amount")),
    Risk(
        "allowances",
        "budget",
        "is of something else, or refuses no more",
        lambda row: row.differs("team_id", "key_id", "unit", "period", "hard"),
    ),
    Risk(
        "allowances", "team", "may make batches beside its limits", lambda row: row.turned("batches", on=True)
    ),
    Risk("keys", "key", "is issued", _issued),
    Risk("keys", "key", "takes another's place with a budget or limit that begins anew", _begins_anew),
    Risk("keys", "key", "may use more models", _widened),
    Risk("keys", "key", "ends later", _longer),
    Risk(
        "keys",
        "key",
        "is another team's, or another key, or revoked no more",
        lambda row: row.differs("team_id", "digest") or _unrevoked(row),
    ),
    Risk("keys", "team", "is deleted", lambda row: row.gone),
    Risk(
        "prices",
        "catalogue",
        "has another price",
        lambda row: row.added or row.gone or row.differs("kind", "name", *_PRICES),
    ),
    Risk("retention", "team", "has more of its prompts kept", _captures_more),
    Risk("retention", "team", "has captures kept longer", _more("capture_days")),
    Risk("retention", "route", "keeps answers or questions, or shares them", _keeps_answers),
)
GROUPS = tuple(dict.fromkeys(risk.group for risk in RISKS))


def risks(
    changed: Mapping[Place, tuple[Values | None, Values | None]],
    replaced: Collection[Place],
    after: State,
    at: datetime,
) -> Iterable[tuple[str, Found]]:
    """Each risky change with its group."""
    new = frozenset(
        place.row for place, (was, _) in changed.items() if place.table == "route" and was is None
    )
    for place, (was, now) in sorted(changed.items(), key=lambda each: each[0]):
        row = Row(was, now, after, at, place.row, place in replaced, new)
        for risk in RISKS:
            if risk.table == place.table and risk.found(row):
                yield risk.group, Found(place, risk.words)


def groups_named(words: str) -> frozenset[str]:
    """The groups that a setting names: `all`, or some of them with commas between. Raises ValueError."""
    named = {word.strip().lower() for word in words.split(",")} - {""}
    if named == {"all"}:
        return frozenset(GROUPS)
    if strange := sorted(named - set(GROUPS) - {"off"}):
        raise ValueError(f"there is no group {', '.join(strange)}; all, off, or some of {', '.join(GROUPS)}")
    if "off" in named and len(named) > 1:
        raise ValueError("off stands alone")
    return frozenset(named - {"off"})


def checked_groups(words: str) -> str:
    """The setting's words, when they name groups. Raises ValueError."""
    groups_named(words)
    return words
