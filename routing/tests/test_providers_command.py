"""manage.py providers: a preset, its key and its routes become one revision."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command

from providers.apps import vault
from providers.crypto import Vault
from providers.models import Credential, Provider
from providers.presets import PRESETS
from routing.draft_ways import begin, publish_draft, seen
from routing.drafts import drafting
from routing.loader import build_snapshot
from routing.models import Revision, Route
from routing.revisions import publish
from tests.support.rows import make_credential, make_provider, make_route

KEY = "gsk-canary-0123456789abcdef"


def run(*words: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("providers", *words, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def refused(*words: str) -> str:
    with pytest.raises(CommandError) as caught:
        run(*words)
    assert KEY not in str(caught.value)
    assert not Revision.objects.filter(number__gt=0).exists()
    return str(caught.value)


def test_the_presets_are_listed_with_their_addresses() -> None:
    out, _ = run("presets")
    for preset in PRESETS.values():
        assert preset.label in out
        assert preset.base_url in out
    assert "Anthropic: https://api.anthropic.com" in out


@pytest.mark.usefixtures("database")
def test_one_command_adds_a_provider_its_key_and_its_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    out, err = run("add", "groq", "--route", "llama-*", "--route", "fast=llama-3.3-70b-versatile")
    assert err == ""
    assert KEY not in out
    snapshot = build_snapshot(vault())
    provider = snapshot.providers["groq"]
    assert (provider.kind.name, provider.base_url) == ("openai_compatible", "https://api.groq.com/openai/v1")
    assert not provider.allow_private
    assert [c.secret for c in provider.credentials] == [KEY]
    targets = {r.pattern: [(t.provider.name, t.upstream_model) for t in r.targets] for r in snapshot.routes}
    assert targets == {"llama-*": [("groq", "")], "fast": [("groq", "llama-3.3-70b-versatile")]}
    (revision,) = Revision.objects.filter(number__gt=0)
    assert (revision.author, revision.reason) == ("command line", "provider groq added")
    assert KEY not in str(revision.summary)


@pytest.mark.django_db
def test_a_second_account_has_its_own_name_and_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", KEY)
    make_provider("groq", kind="openai_compatible", base_url="https://api.groq.com/openai/v1")
    _, err = run("add", "groq", "--name", "groq-eu", "--key-env", "MINE")
    row = Provider.objects.get(name="groq-eu").credentials.get()
    assert vault().open(row.sealed, row.provider_id) == KEY
    assert "No route leads to it yet" in err


@pytest.mark.django_db
def test_azure_takes_its_resource_and_sends_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    assert "--base-url" in refused("add", "azure")
    run("add", "azure", "--base-url", "https://crew.openai.azure.com/openai/v1/")
    provider = build_snapshot(vault()).providers["azure"]
    assert (provider.kind.auth, provider.base_url) == ("api-key", "https://crew.openai.azure.com/openai/v1")


@pytest.mark.django_db
def test_a_server_on_ones_own_network_needs_no_key() -> None:
    run("add", "vllm", "--name", "gpu", "--base-url", "http://10.0.0.7:8000/v1")
    provider = build_snapshot(vault()).providers["gpu"]
    assert (provider.base_url, provider.allow_private) == ("http://10.0.0.7:8000/v1", True)
    assert provider.credentials == ()


@pytest.mark.django_db
def test_a_private_address_for_a_public_service_must_be_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    words = ("add", "groq", "--base-url", "http://10.0.0.7/v1")
    assert "private" in refused(*words)
    run(*words, "--allow-private")
    assert Provider.objects.get().allow_private_addresses


@pytest.mark.django_db
def test_what_is_missing_or_taken_is_said_and_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    assert "There are: openai" in refused("add", "made-up")
    assert "console.groq.com" in refused("add", "groq")
    assert "no MISSING" in refused("add", "groq", "--key-env", "MISSING")
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    assert "--name" in refused("add", "custom", "--base-url", "https://api.example.com/v1")
    assert "--base-url" in refused("add", "custom", "--name", "mine")
    assert "name" in refused("add", "groq", "--name", "Not A Name")
    assert "pattern" in refused("add", "groq", "--route", "a b")
    other = make_provider("openai")
    make_route("gpt-*", other)
    assert "exists already" in refused("add", "groq", "--name", "openai")
    assert "exists already" in refused("add", "groq", "--route", "gpt-*")
    assert Provider.objects.get() == other
    assert Route.objects.count() == 1


@pytest.mark.usefixtures("database")
def test_s27_credentials_are_sealed_anew_once(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = b"o" * 32, b"n" * 32
    provider = make_provider(secret=None)
    fresh = make_credential(provider, KEY, label="fresh", enabled=False)
    Credential.objects.filter(pk=fresh.pk).update(sealed=Vault([new]).seal(KEY, provider.pk))
    stale = make_credential(provider, KEY, label="stale")
    Credential.objects.filter(pk=stale.pk).update(sealed=Vault([old]).seal(KEY, provider.pk))
    monkeypatch.setattr("routing.management.commands.providers.vault", lambda: Vault([new, old]))
    out, _ = run("rotate-secrets")
    assert out.startswith("1 sealed anew, published as revision 1")
    assert [Vault([new]).open(row.sealed, provider.pk) for row in Credential.objects.all()] == [KEY, KEY]
    (revision,) = Revision.objects.filter(number__gt=0)
    assert revision.summary[0]["object"].startswith("credential stale")
    assert run("rotate-secrets")[0] == "0 sealed anew: all of them are under the current key.\n"
    assert Revision.objects.filter(number__gt=0).count() == 1


@pytest.mark.django_db
def test_s27_secrets_of_drafts_are_sealed_anew_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a draft that is published when the old key is gone brings a secret that nobody can open."""
    old, new = Vault([b"o" * 32]), Vault([b"n" * 32])
    provider = make_provider(secret=None)
    kept, replaced = (make_credential(provider, KEY, label=label) for label in ("kept", "replaced"))
    Credential.objects.update(sealed=old.seal(KEY, provider.pk))
    publish("olga", "first")
    draft = begin("spring", "ann")
    with drafting(draft):
        Credential.objects.filter(pk=kept.pk).update(enabled=False)
        Credential.objects.filter(pk=replaced.pk).update(sealed=old.seal("another", provider.pk))
        make_credential(provider, "third", label="added")
        Credential.objects.filter(label="added").update(sealed=old.seal("third", provider.pk))
    lost = begin("lost", "ann")
    with drafting(lost):
        Credential.objects.filter(pk=kept.pk).update(sealed=Vault([b"x" * 32]).seal("x", provider.pk))
    both = Vault([b"n" * 32, b"o" * 32])
    monkeypatch.setattr("routing.management.commands.providers.vault", lambda: both)
    with pytest.raises(CommandError, match="kept in the draft lost"):
        run("rotate-secrets")
    assert seen(draft).clashes == []
    publish_draft(draft, None, "")
    rows = {row.label: (new.open(row.sealed, provider.pk), row.enabled) for row in Credential.objects.all()}
    assert rows == {"kept": (KEY, False), "replaced": ("another", True), "added": ("third", True)}


@pytest.mark.django_db
def test_s27_what_no_key_opens_is_named_and_keeps_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = b"o" * 32, b"n" * 32
    provider = make_provider(secret=None)
    for label, key in (("lost", b"x" * 32), ("good", old)):
        row = make_credential(provider, KEY, label=label)
        Credential.objects.filter(pk=row.pk).update(sealed=Vault([key]).seal(KEY, provider.pk))
    monkeypatch.setattr("routing.management.commands.providers.vault", lambda: Vault([new, old]))
    with pytest.raises(CommandError) as caught:
        run("rotate-secrets")
    assert "openai: lost" in str(caught.value)
    assert "good" not in str(caught.value)
    assert Vault([new]).open(Credential.objects.get(label="good").sealed, provider.pk) == KEY
