"""Live traffic: who may watch, what each is told, and measures by the management API."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.apps import apps
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from accounts.ledger.rows import RequestEntry
from accounts.models import Team, TeamMember
from console.live_told import Seat, history, told
from console.tests.test_manage_access import ask, bearer
from gateway_project.sockets import sockets
from pipeline.call import Record
from pipeline.pulse import Now, PulseBook
from pipeline.pulse_boards import FolderBoard
from pipeline.pulse_desk import Beat, Desk
from providers.apps import vault
from routing.loader import build_snapshot
from routing.measures import begin
from routing.models import Measure
from tests.support.rows import make_provider, make_staff

HOST = (b"host", b"gateway.example:8080")
OWN = (b"origin", b"http://gateway.example:8080")


def record(team: str) -> Record:
    made = Record("req_1", "chat", started=1.0, team=team, provider="openai", model="gpt-4o", status=200)
    made.ended = 2.0
    return made


def beat(*teams: str, now: Now | None = None) -> Beat:
    book = PulseBook("one")
    book.watched = True
    for team in teams:
        book.closed(record(team))
    here = now or Now(open=3, in_flight={"openai": 3, "gone": 1}, waiting={"gpt-*": 2})
    pulse = book.tick(here)
    return Beat({"one": here, "two": here}, pulse.seconds)


def test_who_sees_every_team_is_told_all() -> None:
    said = told(beat("crew", "crew", "others"), Seat(None), None)
    assert (said["point"]["ok"], len(said["requests"]), said["more"]) == (3, 3, 0)
    assert (said["processes"], said["open"], said["waiting"]) == (2, 6, [("gpt-*", 4)])
    figures = {one["name"]: (one["in_flight"], one["ok"]) for one in said["providers"]}
    assert figures == {"gone": (2, 0), "openai": (6, 3)}


def test_who_sees_his_teams_is_told_of_them_alone() -> None:
    said = told(beat("crew", "others", ""), Seat(frozenset({"crew"})), None)
    assert [row["team"] for row in said["requests"]] == ["crew"]
    assert said["point"]["ok"] == 1
    assert set(said) == {"point", "requests", "more", "alone"}
    assert told(beat("others"), Seat(frozenset()), None)["requests"] == []


@pytest.mark.django_db
def test_a_drained_provider_says_until_when() -> None:
    begin(Measure(kind="drain", provider=make_provider(), reason="odd"), 30, "ann")
    said = told(beat(), Seat(None), build_snapshot(vault()))
    drained = next(one["drained"] for one in said["providers"] if one["name"] == "openai")
    assert drained.endswith("UTC")


def test_a_breaker_is_told_once_with_how_many_hold_it() -> None:
    beaten = beat(now=Now(breakers=[("openai", "gpt-4o", "open", 4.0)]))
    beaten.processes["two"] = Now(breakers=[("openai", "gpt-4o", "half_open", 0.0)])
    (one,) = told(beaten, Seat(None), None)["breakers"]
    assert (one["state"], one["seconds"], one["processes"]) == ("open", 4.0, 2)


@pytest.mark.django_db
def test_the_first_points_are_the_ledgers(client: Client) -> None:
    crew, others = Team.objects.create(name="crew"), Team.objects.create(name="others")
    for number, team in enumerate((crew, crew, others)):
        RequestEntry.objects.create(
            request_id=f"req_{number}",
            at=timezone.now() - timedelta(seconds=30),
            team_id=team.pk,
            team=team.name,
            key_id=1,
            state="settled",
            outcome="ok" if number else "error",
            total_ms=900,
            ttft_ms=200,
        )
    staff = make_staff("accounts.view_requestentry", name="scoped")
    TeamMember.objects.create(user=staff, team=crew)
    seen = history(staff)
    assert [row["request_id"] for row in seen["requests"]] == ["req_0", "req_1"]
    (point,) = seen["points"]
    assert (point["ok"], point["failed"], point["ago"]) == (1, 1, 29)
    client.force_login(staff)
    page = client.get("/admin/live/").content.decode()
    assert "req_1" in page
    assert "req_2" not in page
    assert "In flight" not in page


def seat(user: User) -> bytes:
    client = Client()
    client.force_login(user)
    return f"gateway_session={client.cookies['gateway_session'].value}".encode()


async def watch(cookie: bytes, *headers: tuple[bytes, bytes], path: str = "/admin/live/socket") -> Any:
    """What comes of asking for the WebSocket: it, and whether it was accepted."""

    async def nobody(*_: Any) -> None: ...

    application = sockets(nobody, ["https://front.example"])
    wire = WebsocketCommunicator(application, path, headers=[(b"cookie", cookie), *headers])
    accepted, _ = await wire.connect(timeout=10)
    return wire, accepted


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("headers", "path", "may"),
    [
        ((HOST, OWN), "/admin/live/socket", True),
        ((HOST, (b"origin", b"https://front.example")), "/admin/live/socket", True),
        ((HOST, (b"origin", b"http://evil.example")), "/admin/live/socket", False),
        ((HOST, (b"origin", b"http://gateway.example:8080.evil.example")), "/admin/live/socket", False),
        ((HOST, (b"origin", b"http://[")), "/admin/live/socket", False),
        ((HOST, (b"origin", b"null")), "/admin/live/socket", False),
        ((HOST,), "/admin/live/socket", False),
        ((OWN,), "/admin/live/socket", False),
        ((HOST, OWN), "/admin/live/socket/", False),
        ((HOST, OWN), "/v1/chat/completions", False),
    ],
)
async def test_no_other_page_may_use_a_session(headers: Any, path: str, may: bool) -> None:
    cookie = await sync_to_async(lambda: seat(User.objects.create_superuser("root")))()
    wire, accepted = await watch(cookie, *headers, path=path)
    assert accepted is may
    if may:
        await wire.disconnect()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("who", ["nobody", "no right", "no staff", "forged"])
async def test_who_may_not_see_requests_does_not_watch(who: str) -> None:
    def cookie() -> bytes:
        if who == "nobody":
            return b""
        if who == "forged":
            return b"gateway_session=abcdefghijklmnopqrstuvwxyz012345"
        user = make_staff(name="ann") if who == "no right" else User.objects.create_user("bob")
        return seat(user)

    _, accepted = await watch(await sync_to_async(cookie)(), HOST, OWN)
    assert accepted is False


@pytest.mark.django_db(transaction=True)
async def test_a_watcher_hears_and_is_let_go_with_his_session(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("console.live_socket._CHECK_SECONDS", 0.0)
    user = await sync_to_async(User.objects.create_superuser)("root")
    book = PulseBook("one")
    desk = Desk(book, FolderBoard(tmp_path / "live"), Now, interval=0.01)
    console: Any = apps.get_app_config("console")
    monkeypatch.setattr(console, "desk", desk)
    desk.start()
    try:
        wire, accepted = await watch(await sync_to_async(seat)(user), HOST, OWN)
        assert accepted
        async with asyncio.timeout(20):
            while not (said := await wire.receive_json_from(timeout=10))["requests"]:
                # Until somebody watches the book keeps nothing.
                book.closed(record("crew"))
            assert said["requests"][0]["team"] == "crew"
            await User.objects.filter(pk=user.pk).aupdate(is_active=False)
            while (message := await wire.receive_output(timeout=10))["type"] == "websocket.send":
                pass
        assert (message["type"], message["code"]) == ("websocket.close", 4401)
        await wire.disconnect()
    finally:
        await desk.stop()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("what", "code"), [("session", 4401), ("database", 1011)])
async def test_a_watcher_is_let_go_and_not_left_with_a_page_that_stands_still(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, what: str, code: int
) -> None:
    monkeypatch.setattr("console.live_socket._CHECK_SECONDS", 0.0)
    user = await sync_to_async(User.objects.create_superuser)("root")
    desk = Desk(PulseBook("one"), FolderBoard(tmp_path / "live"), Now, interval=0.01)
    console: Any = apps.get_app_config("console")
    monkeypatch.setattr(console, "desk", desk)

    def is_away(_user: object) -> Seat:
        raise OperationalError("the database is away")

    desk.start()
    try:
        wire, accepted = await watch(await sync_to_async(seat)(user), HOST, OWN)
        assert accepted
        if what == "session":
            await Session.objects.aupdate(expire_date=timezone.now() - timedelta(seconds=1))
        else:
            monkeypatch.setattr("console.live_socket.seat_of", is_away)
        async with asyncio.timeout(20):
            while (message := await wire.receive_output(timeout=10))["type"] == "websocket.send":
                pass
        assert (message["type"], message["code"]) == ("websocket.close", code)
        await wire.disconnect()
    finally:
        await desk.stop()


@pytest.mark.django_db
def test_measures_by_the_management_api(client: Client) -> None:
    make_provider()
    headers = bearer(User.objects.create_superuser("root"))
    said = {"kind": "drain", "provider": "openai", "minutes": 5, "reason": "odd"}
    begun = ask(client, "POST", "measures", headers, said)
    assert begun.status_code == 201
    assert (begun.json()["provider"], begun.json()["ended"]) == ("openai", None)
    ended = ask(client, "POST", f"measures/{begun.json()['id']}/end", headers)
    assert ended.json()["ended_by"] == "root"
    for wrong in (
        {"provider": "who"},
        {"minutes": 0},
        {"minutes": 99999},
        {"kind": "x"},
        {"kind": "shed"},
        {"reason": ""},
    ):
        assert ask(client, "POST", "measures", headers, said | wrong).status_code == 400
    assert (
        ask(client, "POST", "measures", headers, {"kind": "freeze", "minutes": 5, "reason": "x"}).status_code
        == 201
    )
    held = ask(client, "POST", "teams", headers, {"name": "crew"})
    assert (held.status_code, held.json()["title"]) == (423, "Locked")
    assert len(ask(client, "GET", "measures", headers).json()) == 2
