"""A gateway with rows behind it: teams with keys, and two providers of two accounts that keep files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import openai
import orjson
import pytest
from django.core.management import call_command
from pytest_django.plugin import DjangoDbBlocker

from accounts.keys import display_prefix, issue
from accounts.models import ApiKey as KeyRow
from accounts.models import Team as TeamRow
from providers.models import Credential as CredentialRow
from providers.models import Provider as ProviderRow
from routing.models import OwnedObject
from routing.snapshot import ApiKey, Credential, Provider, Route, Snapshot, Team
from tests.support.databases import instead, sqlite_settings
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway


@dataclass(slots=True)
class Crew:
    """A team with one key and a client that uses it."""

    row: ApiKey
    client: openai.OpenAI

    @property
    def team(self) -> Team:
        return self.row.team


@dataclass(slots=True)
class Kept:
    """The gateway, its upstream, and the teams `a` and `b`."""

    gateway: LiveGateway
    fake: FakeUpstream
    providers: dict[str, Provider]
    crews: dict[str, Crew] = field(default_factory=dict)

    @property
    def a(self) -> openai.OpenAI:
        return self.crews["a"].client

    @property
    def b(self) -> openai.OpenAI:
        return self.crews["b"].client

    def use(self, routes: list[Route] | None = None, **changes: object) -> None:
        """Serve by these routes; `changes` are to the key of team a."""
        one, two = self.providers["one"], self.providers["two"]
        made = routes or [self.gateway.route("gpt-*", one), self.gateway.route("other-*", two)]
        rows = {name: crew.row for name, crew in self.crews.items()}
        rows["a"] = replace(rows["a"], **changes)  # type: ignore[arg-type]  # whatever the test changes
        providers = {provider.name: provider for provider in self.providers.values()}
        keys = {row.digest: row for row in rows.values()}
        self.gateway.use(Snapshot(revision=8, routes=tuple(made), keys=keys, providers=providers))


def jsonl(*models: str, url: str = "/v1/chat/completions") -> bytes:
    """The file of a batch with a request for each model."""
    return b"".join(
        orjson.dumps(
            {"custom_id": str(at), "method": "POST", "url": url, "body": {"model": model, "messages": []}}
        )
        + b"\n"
        for at, model in enumerate(models)
    )


@pytest.fixture(scope="session")
def kept_database(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker) -> Path:
    """A file with all tables, as production has it: the gateway asks it in threads of its own."""
    path = tmp_path_factory.mktemp("kept") / "db.sqlite3"
    with instead(sqlite_settings(path), django_db_blocker):
        call_command("migrate", verbosity=0)
    return path


@pytest.fixture
def tables(kept_database: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Files and batches are looked up in the database, in threads of the gateway's own."""
    with instead(sqlite_settings(kept_database), django_db_blocker):
        yield


@pytest.fixture
def kept(
    kept_database: Path, django_db_blocker: DjangoDbBlocker, live: LiveGateway, fake_upstream: FakeUpstream
) -> Iterator[Kept]:
    with instead(sqlite_settings(kept_database), django_db_blocker):
        try:
            yield from _kept(live, fake_upstream)
        finally:
            for model in (OwnedObject, KeyRow, TeamRow, CredentialRow, ProviderRow):
                model._base_manager.all().delete()


def _kept(live: LiveGateway, fake_upstream: FakeUpstream) -> Iterator[Kept]:
    providers: dict[str, Provider] = {}
    for name in ("one", "two"):
        row = ProviderRow.objects.create(name=name, kind="openai", base_url="https://example.com/v1")
        secrets = [
            CredentialRow.objects.create(provider=row, label=label, sealed="x", last4="")
            for label in ("first", "second")
        ]
        keys = tuple(
            Credential(one.pk, one.label, "", f"sk-{name}-{one.label}-0123456789") for one in secrets
        )
        url = live.fake.named(name) + "/v1"
        providers[name] = live.provider("openai", id=row.pk, name=name, base_url=url, credentials=keys)
    kept = Kept(live, fake_upstream, providers)
    for name in ("a", "b"):
        team = TeamRow.objects.create(name=name)
        key = issue()
        digest = live.hasher.digest(key)
        made = KeyRow.objects.create(team=team, prefix=display_prefix(key), digest=digest.hex())
        own = ApiKey(id=made.pk, prefix=made.prefix, digest=digest, team=Team(team.pk, name))
        kept.crews[name] = Crew(own, openai.OpenAI(base_url=live.openai_url, api_key=key, max_retries=0))
    kept.use()
    yield kept
    for crew in kept.crews.values():
        crew.client.close()
