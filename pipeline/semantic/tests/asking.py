"""What tests of like questions share: a route that answers them, and questions asked of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pipeline.semantic.memory import MemoryVectors
from pipeline.semantic.stores import VectorStore
from pipeline.tests.caching import Teams, say, settled, with_teams
from pipeline.tests.faults import served
from routing.caching import Caching, Purge
from routing.semantic import Semantic
from routing.snapshot import Route
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import Answer, Pair

FIRST = "What is the capital of France?"
LIKE = "Please tell me, what's the capital of France?"


def like(
    live: LiveGateway, pair: Pair, *more: Route, purges: tuple[Purge, ...] = (), **settings: Any
) -> Teams:
    """Serve the pair's model by a route that answers like questions, to two teams. `caching`: the cache's own
    settings."""
    caching = settings.pop("caching", Caching())
    route = live.route("*", served(live, pair), caching=caching, semantic=Semantic(**settings))
    # What other tests have kept leads to nothing, but their misses count.
    live.answers.vectors._made = MemoryVectors()
    teams = with_teams(live, live.snapshot([route, *more]), pair, purges)
    loaded(live)
    return teams


def loaded(live: LiveGateway) -> None:
    """Wait until there is a model and a store."""
    live.answers.embedders.warm()
    live.wait(lambda: live.answers.vectors.get() is not None and live.answers.embedders.ready)


@contextmanager
def stored(live: LiveGateway, store: VectorStore) -> Iterator[None]:
    """Keep vectors elsewhere for a while."""
    before = live.answers.vectors._made
    live.answers.vectors._made = store
    try:
        yield
    finally:
        live.answers.vectors._made = before


def question(pair: Pair, text: Any, *before: dict[str, Any]) -> dict[str, Any]:
    """The fields of a request that asks this, after these turns."""
    if pair.surface == "completions":
        return {"prompt": text}
    turns = [*before, {"role": "user", "content": text}]
    if pair.surface == "responses":
        return {"input": text if not before and isinstance(text, str) else turns}
    return {"messages": turns}


def put(live: LiveGateway, pair: Pair, text: Any, *before: dict[str, Any], **fields: Any) -> Answer:
    """Ask, and read the reply to its end; then whatever is kept of it is."""
    answer = say(live, pair, **({**question(pair, text, *before)} | fields))
    settled(live)
    return answer


def changed(live: LiveGateway, **changes: Any) -> None:
    """The same route with other settings, from the next request on."""
    snapshot = live.holder.current
    (route,) = (each for each in snapshot.routes if each.semantic)
    assert route.semantic is not None
    routes = tuple(
        replace(each, semantic=replace(route.semantic, **changes)) if each is route else each
        for each in snapshot.routes
    )
    live.use(replace(snapshot, routes=routes))
