"""Testing a provider, as a command and from the admin: against the fake of the three providers."""

from __future__ import annotations

import io
import socket
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from providers.apps import vault
from providers.kinds import KINDS
from providers.models import Credential, Provider
from providers.probe import Subject
from providers.trial import try_provider
from tests.support.fake_upstream import FakeUpstream
from tests.support.rows import SECRET, make_credential, make_provider
from tests.support.upstream.script import Close, Json, Reset, Send, Stall, Step

pytestmark = pytest.mark.django_db


def at(fake: FakeUpstream, kind: str, **fields: Any) -> Provider:
    """A provider of this kind at the fake."""
    url = {"openai": fake.openai_url, "openai_compatible": fake.openai_url}.get(kind, fake.url)
    fields = {"base_url": url, "allow_private_addresses": True, "secret": SECRET, **fields}
    if kind == "ollama":
        fields["secret"] = None
    return make_provider(kind, **fields)


def words(provider: Provider) -> list[tuple[bool, str]]:
    return [(trial.verdict.ok, trial.words) for trial in try_provider(provider, vault())]


@pytest.mark.parametrize(
    ("kind", "path", "header"),
    [
        ("openai", "/v1/models", ("authorization", f"Bearer {SECRET}")),
        ("anthropic", "/v1/models", ("x-api-key", SECRET)),
        ("ollama", "/api/tags", ("authorization", None)),
        ("openai_compatible", "/v1/models", ("authorization", f"Bearer {SECRET}")),
    ],
)
def test_each_kind_is_asked_its_own_cheap_path(
    fake_upstream: FakeUpstream, kind: str, path: str, header: tuple[str, str | None]
) -> None:
    found = words(at(fake_upstream, kind))
    assert [ok for ok, _ in found] == [True]
    (request,) = fake_upstream.requests
    assert (request.method, request.path) == ("GET", path)
    assert request.header(header[0]) == header[1]
    assert request.refusal is None


def test_each_enabled_credential_is_tried_and_named_by_its_end(fake_upstream: FakeUpstream) -> None:
    provider = at(fake_upstream, "openai")
    make_credential(provider, "bad-canary-0123456789", label="old")
    make_credential(provider, label="off", enabled=False)
    assert words(provider) == [
        (True, "default …abcd: reachable, and the credential is accepted"),
        (False, "old …6789: reachable, but the credential is refused (status 401)"),
    ]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([Json(403, {})], "the credential is refused (status 403)"),
        ([Json(404, {})], "the path is unknown there (status 404): check the base URL"),
        ([Json(429, {})], "it limits us at the moment (status 429)"),
        ([Json(302, {})], "answers with a redirect (status 302), which is never followed"),
        ([Json(500, {"error": {"message": "canary"}})], "it answers with status 500"),
        ([Reset()], "the connection was closed before the answer was complete"),
        ([Send(b"SSH-2.0-OpenSSH_9.6\r\n"), Close()], "the answer is not HTTP"),
    ],
)
def test_what_goes_wrong_is_said_in_plain_words(
    fake_upstream: FakeUpstream, steps: list[Step], expected: str
) -> None:
    fake_upstream.script("/v1/models", steps)
    ((ok, said),) = words(at(fake_upstream, "openai"))
    assert not ok
    assert expected in said
    assert "canary" not in said
    assert SECRET not in said


def test_a_closed_port_is_said_so() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        provider = make_provider("openai", base_url=url, allow_private_addresses=True)
        assert words(provider) == [(False, "default …abcd: nothing listens at this address")]


def test_s25_the_same_guards_stand_before_a_test(fake_upstream: FakeUpstream) -> None:
    provider = at(fake_upstream, "openai", allow_private_addresses=False)
    ((ok, said),) = words(provider)
    assert (ok, "the address is private" in said) == (False, True)
    assert fake_upstream.requests == []


def test_without_a_credential_or_a_readable_one_nothing_is_sent(fake_upstream: FakeUpstream) -> None:
    provider = at(fake_upstream, "openai", secret=None)
    assert words(provider) == [(False, "has no enabled credential that can be read: enter one")]
    Credential.objects.create(provider=provider, sealed="not a token", last4="abcd")
    ((ok, said),) = words(provider)
    assert (ok, "cannot be decrypted" in said) == (False, True)
    assert fake_upstream.requests == []


def test_the_sandbox_and_an_unknown_kind_are_asked_nothing() -> None:
    assert words(make_provider("sandbox")) == [(True, "answers by itself; nothing to reach")]
    provider = make_provider("x")
    provider.kind = "made-up"
    assert words(provider) == [(False, "its kind is not known to this version of the gateway")]


def test_the_subject_of_a_test_never_shows_its_secret() -> None:
    assert SECRET not in repr(Subject(kind=KINDS["openai"], base_url="", connect=1, secret=SECRET))


def run(name: str) -> str:
    out = io.StringIO()
    call_command("providers", "test", name, stdout=out)
    return out.getvalue()


def test_the_command_says_what_it_found(fake_upstream: FakeUpstream) -> None:
    provider = at(fake_upstream, "openai")
    assert run("openai") == (
        f"openai at {fake_upstream.openai_url}\n"
        "  ok  default …abcd: reachable, and the credential is accepted\n"
    )
    make_credential(provider, "bad-0123456789abcdef", label="old")
    with pytest.raises(CommandError, match="cannot be used as it is"):
        run("openai")


def test_the_command_knows_the_names() -> None:
    make_provider("groq")
    with pytest.raises(CommandError, match="There are: groq"):
        run("openai")


def test_an_answer_that_never_comes_is_waited_for_only_so_long(
    fake_upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("providers.probe._PATIENCE", 0.2)
    fake_upstream.script("/v1/models", [Stall()])
    ((ok, said),) = words(at(fake_upstream, "openai"))
    assert (ok, "no answer within" in said) == (False, True)
