"""A zero byte names nothing, and PostgreSQL fails on it: no page of the admin passes one on."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

pytestmark = pytest.mark.postgres

LISTS = (
    "accounts/requestentry/?model=",
    "accounts/requestentry/?request_id__exact=",
    "accounts/requestentry/?q=",
    "accounts/requestentry/export/?model=",
    "accounts/usageday/?provider=",
    "accounts/usageday/usage/?model=",
    "routing/ownedobject/?kind__exact=",
    "routing/semanticevent/?embedder=",
    "routing/translationloss/?model=",
    "lint/?a=",
    "axes/accesslog/?path_info=",
    "explain/?request=",
    "explain/?model=",
    "explain.json?request=",
)


@pytest.mark.usefixtures("postgres")
def test_a_zero_byte_is_refused_wherever_it_stands() -> None:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("owner"))
    told = {address: client.get(f"/admin/{address}%00").status_code for address in LISTS}
    assert {address: status for address, status in told.items() if status != 400} == {}
    assert client.get("/admin/accounts/team/%00/change/").status_code == 400
    # What is no zero byte, but looks like one.
    assert client.get("/admin/accounts/requestentry/?model=%2500").status_code == 200
    for field in ("request", "key", "surface", "revision"):
        answer = client.post("/admin/explain.json", {"model": "m", field: "a\0b"})
        assert (answer.status_code, list(answer.json())) == (400, ["error"]), field
        assert client.post("/admin/explain/", {"model": "m", field: "a\0b"}).status_code == 200, field
    stranger = Client(raise_request_exception=False)
    stranger.cookies["gateway_session"] = "0123456789abcdef\0"
    assert stranger.get("/admin/").status_code == 400
    another = Client(raise_request_exception=False)
    assert another.post("/admin/login/", {"username": "a\0", "password": "b\0"}).status_code == 200
