"""Seeding: what the first start makes, what later starts follow, and what several at once do."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from accounts.apps import hasher
from accounts.keys import KeyHasher, WeakKeyError, issue
from accounts.models import ApiKey, Team
from providers.apps import vault
from providers.models import CatalogueModel, Credential, Provider
from routing.configfile import ConfigError
from routing.loader import build_snapshot
from routing.models import Revision, Route, Target
from routing.plan import match
from routing.seed import ProviderSeed, SeedConfig, SeedResult, seed

KEYS: Mapping[str, ProviderSeed] = {
    "openai": ProviderSeed(api_key="sk-openai-0123456789"),
    "anthropic": ProviderSeed(api_key="sk-ant-0123456789abc"),
    "ollama": ProviderSeed(base_url="http://localhost:11434"),
}


def start(**changes: Any) -> SeedResult:
    """A start of the gateway with this environment."""
    return seed(SeedConfig(**{"providers": KEYS, **changes}), vault(), hasher())


def goes_to(model: str) -> str:
    """The name of the provider that a model goes to."""
    route = match(build_snapshot(vault()), model, None)
    assert route is not None
    return route.targets[0].provider.name


@pytest.mark.usefixtures("database")
def test_the_first_start_makes_everything_that_a_call_needs() -> None:
    result = start()
    assert result.first
    assert result.key is not None
    assert result.revision == 1
    assert result.default_provider == "openai"
    snapshot = build_snapshot(vault())
    assert snapshot.keys[hasher().digest(result.key)].team.name == "default"
    found = {
        model: goes_to(model)
        for model in (
            "gpt-4o-mini",
            "o1",
            "o1-mini",
            "o3-pro",
            "o4-mini",
            "text-embedding-3-small",
            "claude-sonnet-4-5",
            "llama3.2",
            "sandbox",
        )
    }
    assert found == {
        "gpt-4o-mini": "openai",
        "o1": "openai",
        "o1-mini": "openai",
        "o3-pro": "openai",
        "o4-mini": "openai",
        "text-embedding-3-small": "openai",
        "claude-sonnet-4-5": "anthropic",
        "llama3.2": "openai",
        "sandbox": "sandbox",
    }
    secrets = {p.name: [c.secret for c in p.credentials] for p in snapshot.providers.values()}
    assert secrets["openai"] == ["sk-openai-0123456789"]
    assert secrets["anthropic"] == ["sk-ant-0123456789abc"]
    assert snapshot.providers["ollama"].base_url == "http://localhost:11434"
    assert snapshot.providers["ollama"].allow_private
    assert not snapshot.providers["openai"].allow_private


@pytest.mark.usefixtures("database")
def test_a_second_start_with_the_same_environment_changes_nothing() -> None:
    start()
    result = start()
    assert (result.first, result.key, result.revision) == (False, None, None)
    assert Revision.objects.filter(number__gt=0).count() == 1
    assert ApiKey.objects.count() == 1


@pytest.mark.django_db
def test_no_secret_is_in_the_rows_or_in_the_revision() -> None:
    result = start()
    assert result.key is not None
    texts = [str(row) for model in (Revision, Credential, ApiKey, Provider) for row in model.objects.values()]
    for secret in (result.key, "sk-openai-0123456789", "sk-ant-0123456789abc"):
        assert not any(secret in text for text in texts)
        assert secret not in repr(result)


@pytest.mark.django_db
def test_only_ollama_on_the_machine_makes_it_the_default() -> None:
    start(providers={"openai": ProviderSeed(), "anthropic": ProviderSeed(), "ollama": ProviderSeed()})
    assert goes_to("llama3.2") == "ollama"


@pytest.mark.django_db
def test_the_chosen_default_is_followed_until_somebody_edits_it() -> None:
    start(default_provider="anthropic")
    assert goes_to("anything") == "anthropic"
    assert start(default_provider="ollama").revision == 2
    assert goes_to("anything") == "ollama"
    Route.objects.filter(name="default").update(managed_by_env=False)
    assert start(default_provider="openai").revision is None
    assert goes_to("anything") == "ollama"


@pytest.mark.django_db
def test_a_default_that_is_no_provider_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="groq"):
        start(default_provider="groq")
    assert not Provider.objects.exists()


@pytest.mark.django_db
def test_a_new_address_and_key_in_the_environment_are_taken() -> None:
    start()
    changed = {"openai": ProviderSeed(base_url="http://10.0.0.7:8000/v1/", api_key="sk-next-0123456789ab")}
    assert start(providers={**KEYS, **changed}).revision == 2
    openai = build_snapshot(vault()).providers["openai"]
    assert openai.base_url == "http://10.0.0.7:8000/v1"
    assert openai.allow_private
    assert [credential.secret for credential in openai.credentials] == ["sk-next-0123456789ab"]
    assert start(providers={**KEYS, **changed}).revision is None


@pytest.mark.django_db
def test_an_edited_credential_is_kept() -> None:
    start()
    row = Credential.objects.get(provider__name="openai")
    row.sealed = vault().seal("sk-by-hand-0123456789", row.provider_id)
    row.managed_by_env = False
    row.save()
    assert start().revision is None
    assert [c.secret for c in build_snapshot(vault()).providers["openai"].credentials] == [
        "sk-by-hand-0123456789"
    ]


@pytest.mark.django_db
def test_the_environments_key_never_goes_to_an_address_that_somebody_entered() -> None:
    start()
    provider = Provider.objects.get(name="openai")
    provider.base_url, provider.managed_by_env = "https://elsewhere.example/v1", False
    provider.save()
    provider.credentials.all().delete()
    assert start().revision is None
    assert not provider.credentials.exists()


@pytest.mark.django_db
def test_a_deleted_provider_or_route_is_not_made_again() -> None:
    start()
    Route.objects.filter(pattern="claude-*").delete()
    Provider.objects.filter(name="anthropic").delete()
    start()
    assert not Provider.objects.filter(name="anthropic").exists()
    assert not Route.objects.filter(pattern="claude-*").exists()


@pytest.mark.django_db
def test_a_forgotten_variable_takes_nothing_away() -> None:
    start()
    start(providers={"openai": ProviderSeed(), "anthropic": ProviderSeed(), "ollama": ProviderSeed()})
    assert Credential.objects.filter(provider__name="openai", enabled=True).exists()


@pytest.mark.django_db
def test_production_has_no_sandbox_and_switches_one_off() -> None:
    start(production=True)
    assert not Provider.objects.filter(kind="sandbox").exists()
    Provider.objects.create(name="sandbox", kind="sandbox")
    assert start(production=True).revision == 2
    assert not Provider.objects.get(name="sandbox").enabled


@pytest.mark.django_db
def test_the_bootstrap_key_works_and_stays_revoked_once_revoked() -> None:
    chosen = "a-key-that-somebody-chose-1234"
    result = start(bootstrap_key=chosen)
    assert result.key == chosen
    assert hasher().digest(chosen) in build_snapshot(vault()).keys
    row = ApiKey.objects.get()
    row.revoked_at = row.created
    row.save()
    assert start(bootstrap_key=chosen).revision is None
    assert hasher().digest(chosen) not in build_snapshot(vault()).keys


@pytest.mark.django_db
def test_s27_a_revoked_bootstrap_key_stays_revoked_under_a_new_pepper() -> None:
    chosen = "a-key-that-somebody-chose-1234"
    old, new = b"the pepper before the rotation", b"the pepper after the rotation"
    config = SeedConfig(providers=KEYS, bootstrap_key=chosen)
    seed(config, vault(), KeyHasher(old))
    row = ApiKey.objects.get()
    row.revoked_at = row.created
    row.save()
    seed(config, vault(), KeyHasher(new, old))
    assert ApiKey.objects.get() == row


@pytest.mark.django_db
def test_a_weak_bootstrap_key_is_refused_without_repeating_it() -> None:
    with pytest.raises(WeakKeyError) as caught:
        start(bootstrap_key="short")
    assert "short" not in str(caught.value).split()
    assert not Team.objects.exists()


@pytest.mark.django_db
def test_the_document_is_applied_on_the_first_start() -> None:
    document = {
        "server": {"port": 8080},
        "providers": {
            "default": "groq",
            "openai": {"api_key": "sk-merged-by-the-settings", "timeouts": {"idle": 12}},
            "groq": {
                "kind": "openai_compatible",
                "base_url": "https://api.groq.com/openai/v1",
                "api_key": "env:GROQ",
            },
        },
        "routes": [{"pattern": "gpt-*", "targets": [{"provider": "groq", "model": "llama-3.3-70b"}]}],
        "keys": [{"team": "crew", "value": "env:FIRST_KEY"}],
        "teams": [{"name": "crew"}],
    }
    first = issue()
    environ = {"GROQ": "gsk-0123456789abcdef", "FIRST_KEY": first}
    result = start(document=document, default_provider="groq", environ=environ)
    assert result.key is None
    snapshot = build_snapshot(vault())
    assert list(snapshot.keys) == [hasher().digest(first)]
    assert [c.secret for c in snapshot.providers["groq"].credentials] == ["gsk-0123456789abcdef"]
    # What the environment and the file say of openai has been merged by the settings.
    assert [c.secret for c in snapshot.providers["openai"].credentials] == ["sk-openai-0123456789"]
    assert snapshot.providers["openai"].timeouts.idle == 12
    assert (goes_to("gpt-4o"), goes_to("whatever"), goes_to("o1-mini")) == ("groq", "groq", "openai")
    assert start(document=document, default_provider="groq", environ=environ).revision is None


@pytest.mark.django_db
def test_a_wrong_document_stops_the_first_start_whole() -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        start(document={"routes": [{"pattern": "x", "targets": [{"provider": "nowhere"}]}]})
    assert not Provider.objects.exists()
    assert not CatalogueModel.objects.exists()


@pytest.mark.usefixtures("database")
def test_replicas_that_start_at_once_make_everything_once() -> None:
    line = threading.Barrier(4)

    def replica(_: int) -> SeedResult:
        line.wait()
        try:
            return start()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(replica, range(4)))
    assert sorted(result.first for result in results) == [False, False, False, True]
    assert [result.key is not None for result in results].count(True) == 1
    assert Provider.objects.count() == 4
    assert ApiKey.objects.count() == 1
    assert Target.objects.count() == Route.objects.count()
    assert Revision.objects.filter(number__gt=0).count() == 1
