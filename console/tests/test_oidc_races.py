"""Single sign-on at the same moment: one answer in several hands, one person in several browsers."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client

from accounts.identities import Identity, SpentSignIn
from console.tests.signing_on import Hands, begun, ended, signing_on, who
from tests.support.fake_idp import FakeIdp, a_fake_idp

pytestmark = pytest.mark.usefixtures("database")
_MANY = 4


@pytest.fixture
def idp(database: None) -> Iterator[FakeIdp]:
    with a_fake_idp() as fake, signing_on(fake, Hands()):
        yield fake


def at_once(clients: list[Client], answers: list[dict[str, str]]) -> list[int]:
    """All come back at one moment: their statuses."""
    together = Barrier(len(clients))

    def come(client: Client, answer: dict[str, str]) -> int:
        together.wait(10)
        try:
            reply: Any = ended(client, answer)
        finally:
            connections.close_all()
        status: int = reply.status_code
        return status

    with ThreadPoolExecutor(len(clients)) as pool:
        return list(pool.map(come, clients, answers))


def test_s58_one_answer_in_several_hands_is_completed_once(idp: FakeIdp) -> None:
    idp.lenient = True
    first = Client()
    answer = begun(first)
    clients = [Client() for _ in range(_MANY)]
    for client in clients:
        client.cookies["gateway_sign_in"] = first.cookies["gateway_sign_in"].value
    assert sorted(at_once(clients, [answer] * _MANY)) == [200] + [400] * (_MANY - 1)
    assert len([client for client in clients if who(client) is not None]) == 1
    assert SpentSignIn.objects.count() == 1


def test_s58_somebody_new_in_several_browsers_is_one_user(idp: FakeIdp) -> None:
    clients = [Client() for _ in range(_MANY)]
    answers = [begun(client) for client in clients]
    assert at_once(clients, answers) == [200] * _MANY
    assert (User.objects.count(), Identity.objects.count()) == (1, 1)
    assert {who(client) for client in clients} == {str(User.objects.get().pk)}
    assert list(User.objects.get().groups.values_list("name", flat=True)) == ["viewer"]
