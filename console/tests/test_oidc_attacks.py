"""Single sign-on against who lies: forged and stolen answers, tokens and keys; a provider that is down."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from django.contrib.auth.models import User
from django.test import Client

from accounts.audit import AuditEntry
from console.oidc import fetch
from console.oidc.identity_provider import AGAIN_SECONDS, KEPT_SECONDS, PAUSE_SECONDS, IdentityProvider
from console.tests.signing_on import CALLBACK, START, Hands, begun, ended, signed_in, signing_on, who
from tests.support.fake_idp import SECRET, FakeIdp, a_fake_idp, b64, joined

pytestmark = pytest.mark.django_db
DISCOVERY = "/.well-known/openid-configuration"
Claims = dict[str, Any]


def refused(client: Client, page: Any, status: int = 400) -> str:
    assert page.status_code == status, page.content
    assert who(client) is None
    assert not User.objects.exists()
    text: str = page.content.decode()
    assert SECRET not in text
    return text


def why() -> list[str]:
    return [
        row.changes["why"]
        for row in AuditEntry.objects.filter(action="login failed", object="single sign-on")
    ]


# --- The way back


@pytest.mark.parametrize("change", [{"state": "wrong"}, {"state": ""}, {"state": "é"}, {"code": ""}])
def test_s58_an_answer_that_this_browser_did_not_ask_for_is_nothing(
    on: IdentityProvider, idp: FakeIdp, change: dict[str, str]
) -> None:
    client = Client()
    refused(client, ended(client, begun(client) | change))
    # Nothing was asked of the provider, and nobody is closed out for what a link on a page can do.
    assert idp.asked["/token"] == 0
    assert why() == []


def test_s58_an_answer_in_another_browser_is_nothing(on: IdentityProvider, idp: FakeIdp) -> None:
    """Somebody sends his own answer to somebody else, who would then work as him."""
    answer = begun(Client())
    for other in (Client(), Client()):
        refused(other, ended(other, answer))
    busy = Client()
    begun(busy)
    refused(busy, ended(busy, answer))
    assert idp.asked["/token"] == 0


def test_s58_a_cookie_that_was_made_up_or_is_old_is_nothing(
    on: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client()
    answer = begun(client)
    whole = client.cookies["gateway_sign_in"].value
    client.cookies["gateway_sign_in"] = whole[:-2] + ("AA" if whole[-2:] != "AA" else "BB")
    refused(client, ended(client, answer))
    client.cookies["gateway_sign_in"] = whole
    now = time.time()
    monkeypatch.setattr("django.core.signing.time.time", lambda: now + 601)
    refused(client, ended(client, answer))


def test_the_cookie_is_of_this_page_alone(idp: FakeIdp, clock: Hands) -> None:
    for public, secure in (("http://testserver", ""), ("https://gateway.example.com", True)):
        with signing_on(idp, clock, public_url=public):
            cookie = Client().get(START).cookies["gateway_sign_in"]
            assert [cookie[name] for name in ("path", "samesite", "httponly")] == [CALLBACK, "Lax", True]
            assert cookie["secure"] == secure
            assert int(cookie["max-age"]) == 600


def test_s58_a_code_and_a_state_are_good_once(on: IdentityProvider, idp: FakeIdp) -> None:
    client = Client()
    answer = begun(client)
    cookie = client.cookies["gateway_sign_in"].value
    assert ended(client, answer).status_code == 200
    assert client.cookies["gateway_sign_in"].value == ""
    thief = Client()
    thief.cookies["gateway_sign_in"] = cookie
    assert ended(thief, answer).status_code == 400
    idp.lenient = True
    answer = begun(client)
    cookie = client.cookies["gateway_sign_in"].value
    assert ended(client, answer).status_code == 200
    thief.cookies["gateway_sign_in"] = cookie
    assert ended(thief, answer).status_code == 400
    assert who(thief) is None
    assert set(why()) == {"this sign-in was completed before", "the identity provider does not take the code"}


@pytest.mark.parametrize("said", ["http://127.0.0.1:1", ""])
def test_s58_an_answer_of_another_provider_is_nothing(on: IdentityProvider, idp: FakeIdp, said: str) -> None:
    client = Client()
    refused(client, ended(client, begun(client) | {"iss": said}))
    assert idp.asked["/token"] == 0


def test_s58_a_provider_that_names_itself_must(on: IdentityProvider, idp: FakeIdp) -> None:
    idp.document = {"authorization_response_iss_parameter_supported": True}
    client = Client()
    refused(client, ended(client, begun(client)))
    idp.answer = {"iss": idp.issuer}
    assert signed_in(Client()).status_code == 200


def test_what_the_provider_says_instead_is_told_and_a_strangers_words_are_not(on: IdentityProvider) -> None:
    client = Client()
    answer = begun(client)
    text = refused(
        client, ended(client, answer | {"error": "access_denied", "error_description": "evil words"})
    )
    assert "access_denied" in text
    assert "evil words" not in text
    answer = begun(client)
    assert "call 555" not in refused(client, ended(client, answer | {"error": "call 555"}))


# --- The token


def _hs256(key: Callable[[FakeIdp], bytes]) -> Callable[[FakeIdp, Claims], str]:
    def sign(idp: FakeIdp, claims: Claims) -> str:
        text = joined({"alg": "HS256", "kid": idp.kid}, claims)
        return f"{text}.{b64(hmac.digest(key(idp), text.encode(), hashlib.sha256))}"

    return sign


def _unsigned(idp: FakeIdp, claims: Claims) -> str:
    return joined({"alg": "none"}, claims) + "."


def _unsigned_with_key(idp: FakeIdp, claims: Claims) -> str:
    return joined({"alg": "nOnE", "kid": idp.kid}, claims) + "." + idp.signed(claims).rpartition(".")[2]


def _stripped(idp: FakeIdp, claims: Claims) -> str:
    return idp.signed(claims).rpartition(".")[0] + "."


def _changed(idp: FakeIdp, claims: Claims) -> str:
    head, _, signature = idp.signed(claims).split(".")
    return f"{head}.{joined({}, claims | {'groups': ['heads']}).partition('.')[2]}.{signature}"


def _by_another(idp: FakeIdp, claims: Claims) -> str:
    text = joined({"alg": "RS256", "kid": idp.kid}, claims)
    mine = rsa.generate_private_key(65537, 2048)
    return f"{text}.{b64(mine.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _brings_its_key(idp: FakeIdp, claims: Claims) -> str:
    mine = rsa.generate_private_key(65537, 2048)
    n = b64(mine.public_key().public_numbers().n.to_bytes(256, "big"))
    header = {"alg": "RS256", "jwk": {"kty": "RSA", "n": n, "e": "AQAB"}, "jku": "http://127.0.0.1:1/"}
    text = joined(header, claims)
    return f"{text}.{b64(mine.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _must_be_understood(idp: FakeIdp, claims: Claims) -> str:
    text = joined({"alg": "RS256", "kid": idp.kid, "crit": ["odd"], "odd": 1}, claims)
    return f"{text}.{b64(idp.key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


FORGED: dict[str, Callable[[FakeIdp, Claims], str]] = {
    "none": _unsigned,
    "none, with a key": _unsigned_with_key,
    "HS256 with the public key": _hs256(FakeIdp.public_pem),
    "HS256 with the symmetric key of the set": _hs256(lambda _: b"secret"),
    "HS256 with the client's secret": _hs256(lambda _: SECRET.encode()),
    "without its signature": _stripped,
    "changed": _changed,
    "signed by another": _by_another,
    "with a key of its own": _brings_its_key,
    "with a header that must be understood": _must_be_understood,
    "no token": lambda *_: "a.b.c",
    "nothing": lambda *_: "",
    "not ASCII": lambda *_: "é.é.é",
    "nested": lambda *_: b64(b"[" * 100_000) + ".e30.e30",
    "nested header": lambda *_: b64(b'{"alg":' + b"[" * 350) + ".e30.e30",
    "huge": lambda idp, claims: idp.signed(claims | {"x": "x" * 100_000}),
}


@pytest.mark.parametrize("way", FORGED)
def test_s58_a_forged_token_is_nobody(on: IdentityProvider, idp: FakeIdp, way: str) -> None:
    idp.sign = FORGED[way]
    client = Client()
    refused(client, signed_in(client))
    assert len(why()) == 1


NOW = int(time.time())
CLAIMS: dict[str, Claims] = {
    "another nonce": {"nonce": "another"},
    "no nonce": {"nonce": None},
    "a nonce that is none": {"nonce": 7},
    "another issuer": {"iss": "https://evil.example"},
    "no issuer": {"iss": None},
    "another client": {"aud": "another"},
    "no client": {"aud": None},
    "several clients": {"aud": ["gateway", "another"]},
    "several, asked by another": {"aud": ["gateway", "another"], "azp": "another"},
    "asked by another": {"azp": "another"},
    "expired": {"exp": NOW - 120},
    "no end": {"exp": None},
    "an end that is a word": {"exp": "2099"},
    "an end that is true": {"exp": True},
    "no beginning": {"iat": None},
    "made long ago": {"iat": NOW - 86_400},
    "made tomorrow": {"iat": NOW + 86_400},
    "not yet": {"nbf": NOW + 86_400},
    "no subject": {"sub": None},
    "an empty subject": {"sub": ""},
    "a subject of zero bytes": {"sub": "a\0b"},
    "a long subject": {"sub": "x" * 256},
    "a number for a subject": {"sub": 1},
}


@pytest.mark.parametrize("what", CLAIMS)
def test_s58_a_token_for_something_else_is_nobody(on: IdentityProvider, idp: FakeIdp, what: str) -> None:
    idp.claims = CLAIMS[what]
    client = Client()
    refused(client, signed_in(client))
    assert len(why()) == 1


def test_a_token_for_several_that_we_asked_for_is_good(on: IdentityProvider, idp: FakeIdp) -> None:
    idp.claims = {"aud": ["gateway", "another"], "azp": "gateway"}
    assert signed_in(Client()).status_code == 200


def test_s58_who_fails_too_often_waits_and_nobody_else_does(on: IdentityProvider, idp: FakeIdp) -> None:
    idp.claims = {"aud": "another"}
    client = Client(REMOTE_ADDR="192.0.2.1")
    said = [signed_in(client).status_code for _ in range(9)]
    assert said == [400] * 9
    assert signed_in(client).status_code == 429
    asked = idp.asked["/token"]
    assert client.get(START).status_code == 429
    assert client.get(CALLBACK).status_code == 429
    assert idp.asked["/token"] == asked
    assert AuditEntry.objects.filter(object="single sign-on", action="locked out").count() == 1
    idp.claims = {}
    assert signed_in(Client(REMOTE_ADDR="192.0.2.2")).status_code == 200


# --- Keys


def test_s58_keys_are_rotated_and_an_unknown_one_is_looked_for_now_and_then(
    on: IdentityProvider, idp: FakeIdp, clock: Hands
) -> None:
    assert [signed_in(Client()).status_code for _ in range(2)] == [200, 200]
    assert (idp.asked[DISCOVERY], idp.asked["/jwks"]) == (1, 1)
    idp.rotate()
    client = Client()
    assert signed_in(client).status_code == 400
    assert (who(client), idp.asked["/jwks"]) == (None, 1)
    clock.now += AGAIN_SECONDS + 1
    assert signed_in(Client()).status_code == 200
    assert idp.asked["/jwks"] == 2
    # The old key is not believed any more.
    clock.now += AGAIN_SECONDS + 1
    idp.sign = lambda fake, claims: _old(fake, claims)
    assert [signed_in(Client()).status_code for _ in range(3)] == [400] * 3
    assert idp.asked["/jwks"] == 3


def _old(idp: FakeIdp, claims: Claims) -> str:
    idp.number -= 1
    try:
        return idp.signed(claims)
    finally:
        idp.number += 1


def test_a_withdrawn_key_is_not_believed_for_long(on: IdentityProvider, idp: FakeIdp, clock: Hands) -> None:
    signed_in(Client())
    idp.rotate()
    idp.sign = _old
    clock.now += KEPT_SECONDS + 1
    assert signed_in(Client()).status_code == 400


# --- A provider that is down, or not itself


@pytest.mark.parametrize("fault", ["down", "huge", "odd", "moved", "slow"])
@pytest.mark.parametrize("path", [DISCOVERY, "/token", "/jwks"])
def test_s58_a_provider_that_fails_is_a_clear_page_in_time(
    on: IdentityProvider, idp: FakeIdp, monkeypatch: pytest.MonkeyPatch, path: str, fault: str
) -> None:
    monkeypatch.setattr(fetch, "SECONDS", 1.0)
    idp.faults[path] = fault
    client = Client()
    began = time.monotonic()
    page = client.get(START) if path == DISCOVERY else signed_in(client)
    assert time.monotonic() - began < 5
    # A token endpoint that answers with something else has not taken the code.
    expected = 400 if path == "/token" and fault in ("odd", "moved") else 503
    text = refused(client, page, expected)
    if expected == 503:
        assert "cannot be reached or does not answer" in text
        assert page.headers["retry-after"] == "5"
        assert why() == []


def test_who_is_down_is_left_alone_for_a_moment(on: IdentityProvider, idp: FakeIdp, clock: Hands) -> None:
    idp.faults[DISCOVERY] = "down"
    assert [Client().get(START).status_code for _ in range(4)] == [503] * 4
    assert idp.asked[DISCOVERY] == 1
    idp.faults.clear()
    clock.now += PAUSE_SECONDS + 1
    assert signed_in(Client()).status_code == 200


@pytest.mark.parametrize("document", [
    {"issuer": "https://evil.example"},
    {"issuer": None},
    {"token_endpoint": "http://evil.example/token"},
    {"token_endpoint": None},
    {"jwks_uri": "file:///etc/passwd"},
    {"authorization_endpoint": "javascript:alert(1)"},
    {"authorization_endpoint": "https://user:word@example.com/"},
])  # fmt: skip
def test_s58_a_discovery_document_of_somebody_else_is_not_followed(
    on: IdentityProvider, idp: FakeIdp, document: Claims
) -> None:
    idp.document = document
    client = Client()
    refused(client, client.get(START), 503)


def test_s58_nobody_listens(clock: Hands) -> None:
    with a_fake_idp() as idp:
        pass
    with signing_on(idp, clock):
        client = Client()
        refused(client, client.get(START), 503)


def test_s58_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path, clock: Hands) -> None:
    with a_fake_idp(tmp_path) as idp, signing_on(idp, clock):
        client = Client()
        refused(client, client.get(START), 503)
        assert idp.asked[DISCOVERY] == 0


def test_s58_over_tls_nothing_goes_to_this_machine_in_the_clear(
    tmp_path: Path, clock: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    with a_fake_idp(tmp_path) as idp:
        for name in ("token_endpoint", "jwks_uri", "authorization_endpoint"):
            idp.document = {name: "http://127.0.0.1:1/"}
            with signing_on(idp, clock):
                client = Client()
                refused(client, client.get(START), 503)
        idp.document = {"end_session_endpoint": "http://127.0.0.1:1/"}
        with signing_on(idp, clock, logout=True) as provider:
            assert provider.metadata().end_session == ""
            away = Client().get(START)
            assert away.headers["location"].startswith(f"https://127.0.0.1:{idp.port}/authorize?")


def test_s58_a_wrong_client_secret_is_told_to_nobody(idp: FakeIdp, clock: Hands) -> None:
    with signing_on(idp, clock, secret="hunter2hunter2"):
        client = Client()
        assert "hunter2" not in refused(client, signed_in(client))
