"""Faults of the configuration: changed or taken away under open calls, wrong, unreadable, zero."""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from accounts.apps import hasher
from accounts.keys import display_prefix
from accounts.models import Budget as BudgetRow
from accounts.models import Limit as LimitRow
from pipeline.memory import MemoryStore
from pipeline.stores import Ask, Demand
from providers.apps import vault
from providers.models import Provider as ProviderRow
from routing.allowances import Budget
from routing.configfile import ConfigError, parse
from routing.configfile_apply import Means, apply
from routing.models import Route as RouteRow
from routing.snapshot import Target
from tests.faults.whole import SURFACES, House, Rest, flows, until, values
from tests.support.fake_upstream import FakeUpstream, Match
from tests.support.live_gateway import LiveGateway
from tests.support.rows import make_provider
from tests.support.surfaces import Pair, ask
from tests.support.upstream.script import Answer, Json, Stall, WaitFor

pytestmark = pytest.mark.timeout(300)

every_surface = pytest.mark.parametrize("pair", SURFACES, ids=str)
every_way = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
BUSY = {"chat": 503, "messages": 529}
_ids = count(5000)


# -- G1, G2: under open calls


@every_surface
@pytest.mark.parametrize("change", ["edited", "deleted"])
def test_g1_an_open_call_keeps_the_provider_that_it_began_with(
    live: LiveGateway, fake_upstream: FakeUpstream, pair: Pair, change: str
) -> None:
    go_on = threading.Event()
    old = replace(live.provider("openai"), name="old", base_url=fake_upstream.named("old") + "/v1")
    new = replace(live.provider("openai"), name="new", base_url=fake_upstream.named("new") + "/v1")
    live.use(live.snapshot([live.route("gpt-*", old)]))
    fake_upstream.script(Match(path="/old/"), [Answer(events=6), WaitFor(go_on), Rest(6)])
    with ThreadPoolExecutor(1) as pool:
        begun = pool.submit(ask, live, pair, stream=True)
        fake_upstream.wait_for(1)
        live.use(live.snapshot([live.route("gpt-*", new)] if change == "edited" else []))
        for stream in (False, True):
            answer = ask(live, pair, stream=stream)
            assert answer.status == (200 if change == "edited" else 404)
        go_on.set()
        assert begun.result(30).complete
    paths = [request.path for request in fake_upstream.requests]
    assert sum("/old/" in path for path in paths) == 1
    live.idle()


@pytest.mark.slow
@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_g2_a_revoked_keys_streams_end_on_all_workers(fake_upstream: FakeUpstream, server: str) -> None:
    go_on = threading.Event()
    fake_upstream.script("", [Answer(events=6), WaitFor(go_on), Rest(6)])
    more = {"LLM_GATEWAY_WORKERS": "2", "LLM_GATEWAY_SERVER": server}
    with House(None, **values(fake_upstream, **more)) as gateway:
        until(lambda: len(gateway.workers()) == 2, "both workers listen")
        key = gateway.manage("keys", "issue", "--team", "crew").strip()
        until(lambda: all(gateway.get("/v1/models", key).status_code == 200 for _ in range(6)), "all know it")
        with flows(gateway, 4) as others:
            streams = [gateway.flow(SURFACES[number % 2], key).until(b"rd2") for number in range(8)]
            gateway.manage("keys", "revoke", display_prefix(key))
            for stream in streams:
                stream.rest()
                assert not stream.whole
                assert "revoked" in stream.error["message"]
                stream.close()
            for pair in SURFACES:
                assert {gateway.ask(pair, key).status_code for _ in range(4)} == {401}
            go_on.set()
            for other in others:
                other.rest()
                assert other.whole
        assert all(fake_upstream.wait_closed(request) for request in fake_upstream.requests[4:12])
        assert gateway.metric("gateway_requests_total", code="revoked_api_key") == 8
        until(lambda: gateway.report()["in_flight"] == 1, "nothing is open")
        assert gateway.end() == 0


@every_surface
@every_way
def test_g2_a_call_of_a_revoked_key_that_has_no_answer_yet_is_refused(
    live: LiveGateway, fake_upstream: FakeUpstream, pair: Pair, stream: bool
) -> None:
    fake_upstream.script("", [Stall()])
    with ThreadPoolExecutor(1) as pool:
        begun = pool.submit(ask, live, pair, stream=stream)
        fake_upstream.wait_for(1)
        live.loop.call_soon_threadsafe(live.door.cut_revoked, frozenset())
        answer = begun.result(30)
    assert answer.status == 401
    assert "revoked" in answer.error()["message"]
    record = live.wait_record()
    assert (record.outcome, record.code, record.status) == ("error", "revoked_api_key", 401)
    assert fake_upstream.wait_closed(fake_upstream.last)


@every_surface
def test_g2_a_stream_goes_on_to_what_was_reserved_when_its_budget_is_spent(
    live: LiveGateway, fake_upstream: FakeUpstream, pair: Pair
) -> None:
    go_on = threading.Event()
    row = Budget(next(_ids), unit="tokens", amount=400, period="total", key_id=1)
    live.use(live.snapshot(key={"budgets": (row,)}))
    fake_upstream.script("", [Answer(events=6), WaitFor(go_on), Rest(6)], times=1)
    with ThreadPoolExecutor(1) as pool:
        begun = pool.submit(ask, live, pair, stream=True, max_tokens=60)
        fake_upstream.wait_for(1)
        # The rest of the budget goes to others.
        while ask(live, pair, max_tokens=60).status == 200:
            assert len(fake_upstream.requests) < 100
        refused = ask(live, pair, stream=True, max_tokens=60)
        assert refused.status == (402 if pair.surface == "messages" else 429)
        go_on.set()
        assert begun.result(30).complete


# -- G3, G4, G5: wrong from the beginning


@every_surface
@every_way
def test_g3_each_target_is_tried_before_one_is_tried_again_and_the_circle_ends(
    live: LiveGateway, fake_upstream: FakeUpstream, pair: Pair, stream: bool
) -> None:
    first, second = (
        replace(live.provider("openai"), name=name, base_url=fake_upstream.named(name) + "/v1")
        for name in ("first", "second")
    )
    live.use(live.snapshot([live.route("gpt-*", first, second, first, second)]))
    fake_upstream.script("", [Json(503, {"error": {"message": "down", "type": "server_error"}})])
    answer = ask(live, pair, stream=stream)
    assert answer.status == BUSY[pair.surface]
    asked = [request.path.split("/")[1] for request in fake_upstream.requests]
    # Each once, and one of them again as the third and last attempt.
    assert asked[:2] == ["first", "second"]
    assert len(asked) == 3


@pytest.mark.django_db
def test_g3_a_target_that_stands_twice_in_a_route_is_refused_at_the_save() -> None:
    target = {"provider": "sandbox", "model": "a"}
    with pytest.raises(ConfigError) as refused:
        bring({"routes": [{"pattern": "x-*", "targets": [target, {"provider": "sandbox"}, target]}]})
    assert "are the same" in str(refused.value.problems)
    bring({"routes": [{"pattern": "x-*", "targets": [target, {**target, "body_patch": {"seed": 1}}]}]})


def bring(document: dict[str, Any]) -> None:
    """Apply a configuration document to the test's database, with a provider to route to."""
    if not ProviderRow.objects.exists():
        make_provider("sandbox", secret=None)
    means = Means(vault=vault(), hasher=hasher(), environ={})
    apply(parse(document), means, author="test", reason="test")


BAD_PATTERNS = ("", "a b", "*x", "a*b", "**", "(a+)+*$", ".*x", "gpt-*\n", "x" * 300)


@pytest.mark.django_db
@pytest.mark.parametrize("pattern", BAD_PATTERNS)
def test_g4_a_pattern_is_a_name_or_a_prefix_and_nothing_that_could_run_away(pattern: str) -> None:
    with pytest.raises(ValidationError):
        RouteRow(name="r", pattern=pattern).full_clean()
    with pytest.raises(ConfigError):
        bring({"routes": [{"pattern": pattern, "targets": [{"provider": "sandbox"}]}]})


@every_surface
@pytest.mark.parametrize("pattern", ["(a+)+$", "^a", "[a", "a{1,99}"])
def test_g4_what_looks_like_an_expression_is_a_name(live: LiveGateway, pair: Pair, pattern: str) -> None:
    target = Target(id=1, provider=live.provider("openai"), upstream_model="gpt-4o")
    live.use(live.snapshot([live.route(pattern, target)]))
    assert ask(live, pair, model=pattern).status == 200
    for model in ("a", "a" * 64 + "!"):
        assert ask(live, pair, model=model).status == 404


@pytest.mark.django_db
@pytest.mark.parametrize("weight", [-1, math.nan, math.inf, "many", 1.5])
def test_g5_a_weight_is_a_whole_number_and_not_negative(weight: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        bring({"routes": [{"pattern": "x-*", "targets": [{"provider": "sandbox", "weight": weight}]}]})
    assert "weight" in str(refused.value.problems)


@pytest.mark.django_db
@pytest.mark.parametrize("broken", [{"weight": 0}, {"enabled": False}])
def test_g5_a_route_that_can_take_nobody_is_refused_at_the_save(broken: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        bring({"routes": [{"pattern": "x-*", "targets": [{"provider": "sandbox", **broken}]}]})


@every_surface
@every_way
@pytest.mark.parametrize("broken", [{"weight": 0}, {"enabled": False}], ids=["all-weights-0", "all-disabled"])
def test_g5_a_route_that_can_take_nobody_is_busy(
    live: LiveGateway, fake_upstream: FakeUpstream, pair: Pair, stream: bool, broken: dict[str, Any]
) -> None:
    target = Target(id=1, provider=live.provider("openai"), **broken)
    live.use(live.snapshot([live.route("gpt-*", target)]))
    answer = ask(live, pair, stream=stream)
    assert answer.status == BUSY[pair.surface]
    error = answer.error()
    if pair.surface == "chat":
        assert error["code"] == "no_healthy_target"
    assert fake_upstream.requests == []


# -- G6, G8: rows that cannot be read


def _spoil(folder: Path, sql: str) -> None:
    """Change rows past all checks, and publish, as a careless hand in the database would."""
    with closing(sqlite3.connect(folder / "gateway.sqlite3", isolation_level=None)) as rows:
        rows.execute("PRAGMA ignore_check_constraints = ON")
        rows.execute(sql)
        rows.execute(
            "INSERT INTO routing_revision (number, author, reason, summary, created)"
            " SELECT max(number) + 1, 'test', 'test', '[]', '2030-01-01' FROM routing_revision"
        )


@pytest.mark.slow
def test_g6_a_credential_that_cannot_be_opened_takes_out_its_target_alone(
    tmp_path: Path, fake_upstream: FakeUpstream
) -> None:
    with House(tmp_path, **values(fake_upstream)) as gateway:
        assert gateway.ask().status_code == 200
        _spoil(tmp_path, "UPDATE providers_credential SET sealed = 'gAAAAABnot-by-this-key'")
        until(lambda: gateway.metric("gateway_config_rows_left_out") == 1, "it is seen")
        asked = len(fake_upstream.requests)
        for pair in SURFACES:
            for stream in (False, True):
                assert gateway.ask(pair, stream=stream).status_code == BUSY[pair.surface]
                assert gateway.ask(pair, stream=stream, model="llama3.2").status_code == 200
        assert all(request.path == "/api/chat" for request in fake_upstream.requests[asked:])
        ready = gateway.get("/ready")
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "degraded": True})
        assert gateway.report()["rows_left_out"] == 1
        assert "cannot be used and is left out" in gateway.output
    # And after a start with it. The environment's own key is sealed anew where it is given again.
    again = {key: value for key, value in values(fake_upstream).items() if key != "OPENAI_API_KEY"}
    with House(tmp_path, **again) as gateway:
        assert gateway.ask(model="llama3.2").status_code == 200
        assert gateway.ask().status_code == 503
        assert gateway.report()["rows_left_out"] == 1


POISON = {
    "bad JSON": "UPDATE routing_target SET body_patch = '{\"broken' WHERE id = (SELECT min(t.id) FROM"
    " routing_target t JOIN providers_provider p ON p.id = t.provider_id WHERE p.name = 'sandbox')",
    "a moment that is none": "UPDATE providers_provider SET connect_timeout = 'soon' WHERE name = 'sandbox'",
    "a list that is none": "UPDATE accounts_apikey SET allowed_models = '{}' WHERE id ="
    " (SELECT max(id) FROM accounts_apikey)",
}


@pytest.mark.slow
def test_g8_poison_rows_are_left_out_and_the_process_starts(
    tmp_path: Path, fake_upstream: FakeUpstream
) -> None:
    with House(tmp_path, **values(fake_upstream)) as gateway:
        gateway.manage("keys", "issue", "--team", "crew")
        for number, sql in enumerate(POISON.values(), 1):
            _spoil(tmp_path, sql)
            until(lambda least=number: gateway.report()["rows_left_out"] >= least, "it is seen")  # type: ignore[misc]  # bound at once
            for pair in SURFACES:
                assert gateway.ask(pair, stream=number % 2 == 0).status_code == 200
    with House(tmp_path, **values(fake_upstream)) as gateway:
        assert gateway.ready() == (200, "")
        assert gateway.report()["rows_left_out"] >= len(POISON)
        for pair in SURFACES:
            for stream in (False, True):
                assert gateway.ask(pair, stream=stream).status_code == 200
        assert "left out" in gateway.output


# -- G7: a probe that says nothing


@every_surface
@pytest.mark.parametrize("end", ["client gone", "a 4xx", "never"])
def test_g7_a_probe_that_settles_nothing_leaves_room_for_the_next(
    live: LiveGateway, fake_upstream: FakeUpstream, pair: Pair, end: str
) -> None:
    spare = replace(live.provider("openai"), name="spare", base_url=fake_upstream.named("spare") + "/v1")
    live.use(live.snapshot([live.route("gpt-*", live.provider("openai"), spare)]))
    down = fake_upstream.script(
        Match(path="/chat/completions", where=lambda r: "/spare/" not in r.path),
        [Json(503, {"error": {"message": "down", "type": "server_error"}})],
    )
    while not any(state == "open" for state, _ in live.live.report().values()):
        assert ask(live, pair).status == 200
    down.times = down.used
    probes: dict[str, Callable[[], Any]] = {
        "client gone": lambda: _leave(live, pair, fake_upstream),
        "a 4xx": lambda: fake_upstream.script(
            Match(where=lambda r: "/spare/" not in r.path),
            [Json(400, {"error": {"message": "no", "type": "invalid_request_error"}})],
            times=1,
        ),
        "never": lambda: fake_upstream.script(
            Match(where=lambda r: "/spare/" not in r.path), [Stall()], times=1
        ),
    }
    live.skipped += 20
    with ThreadPoolExecutor(1) as pool:
        probes[end]()
        if end == "a 4xx":
            assert ask(live, pair).status == 400
        elif end == "never":
            before = len(fake_upstream.requests)
            pool.submit(ask, live, pair, stream=True)
            live.wait(lambda: len(fake_upstream.requests) > before)
            assert ask(live, pair).status == 200
            assert "/spare/" in fake_upstream.last.path
            live.skipped += 700
        asked = len(fake_upstream.requests)
        live.wait(lambda: _probes(live, pair, fake_upstream, asked))
        live.wait(lambda: all(state == "closed" for state, _ in live.live.report().values()))
        if end == "never":
            fake_upstream.reset()


def _probes(live: LiveGateway, pair: Pair, fake: FakeUpstream, since: int) -> bool:
    """One more call; True when the target that was given up has been asked again."""
    assert ask(live, pair).status == 200
    return any("/spare/" not in request.path for request in fake.requests[since:])


def _leave(live: LiveGateway, pair: Pair, fake: FakeUpstream) -> None:
    """A call that becomes the probe, and whose client goes away."""
    fake.script(Match(where=lambda r: "/spare/" not in r.path), [Stall()], times=1)
    before = len(fake.requests)
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(ask, live, pair, stream=True)
        live.wait(lambda: len(fake.requests) > before)
        live.cut()
        held.result(30)


# -- G9: zeros


ZEROS: dict[str, Callable[[], Any]] = {
    "a limit of 0": lambda: LimitRow(kind="requests", amount=0, per="minute"),
    "a limit below 0": lambda: LimitRow(kind="concurrency", amount=-1),
    "a budget of 0": lambda: BudgetRow(unit="tokens", amount=0, period="day"),
    "tries of 0": lambda: RouteRow(name="r", pattern="r", tries=0),
    "a breaker that opens after 0": lambda: ProviderRow(name="p", kind="openai", breaker_consecutive=0),
    "a breaker that is open for 0": lambda: ProviderRow(name="p", kind="openai", breaker_open=0),
    "a ratio of 0": lambda: ProviderRow(name="p", kind="openai", breaker_ratio=0.0),
    **{
        f"{name} of {value}": lambda name=name, value=value: ProviderRow(  # type: ignore[misc]  # bound at once
            name="p", kind="openai", **{name: value}
        )
        for name in ("connect_timeout", "first_byte_timeout", "idle_timeout", "total_timeout")
        for value in (0, -1, None, math.nan)
    },
}


@pytest.mark.django_db
@pytest.mark.parametrize("make", ZEROS.values(), ids=ZEROS)
def test_g9_zero_is_refused_and_never_means_without_end(make: Callable[[], Any]) -> None:
    with pytest.raises(ValidationError):
        make().full_clean()


@pytest.mark.parametrize("kind", ["window", "lease"])
async def test_g9_a_limit_of_zero_lets_nothing_through(kind: Any) -> None:
    store = MemoryStore()
    demand = Demand("one", "t", (Ask(kind, "{t}:k", 0, span=60),))
    assert not (await store.decide(demand)).admitted
