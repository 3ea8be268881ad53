"""What a start does before it listens: waits for the database, migrates, seeds, and makes the first admin."""

from __future__ import annotations

import contextlib
import fcntl
import json
import secrets
import time
import urllib.request
from collections.abc import Callable, Iterator
from urllib.error import URLError

import structlog
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import OperationalError, connection

from accounts.apps import hasher
from console.oidc.roles_check import what_is_wrong
from gateway_project.beginnings import ADMIN, DatabaseUnavailableError, Outcome
from gateway_project.config import Config
from providers.apps import vault
from providers.models import Credential
from routing.seed import ProviderSeed, SeedConfig, seed

# A database beside us in a compose file needs some seconds to come up. Who needs longer is waited for while
# the gateway listens already.
_PATIENCE = 10.0
# Any number, as long as every replica takes the same.
_LOCK = 0x6C6C6D67
# Nobody notices so long at a start.
_LOCK_SECONDS = 0.2
_OLLAMA_SECONDS = 0.7


def prepare(config: Config, say: Callable[[str], None]) -> Outcome:
    """Bring the database to where serving can begin. Idempotent, and safe when replicas start at once.

    `say` is told what takes long. Raises DatabaseUnavailableError, ConfigError.
    """
    _wait(say, _PATIENCE)
    with _alone(config):
        call_command("migrate", verbosity=0, interactive=False)
        result = seed(_seed_config(config), vault(), hasher())
        password = _first_admin(config)
        # Whoever calls models has nothing to do with it, so the gateway starts all the same.
        if words := what_is_wrong():
            structlog.get_logger("gateway").error(words)
    key = None if config.bootstrap_key is not None else result.key
    outcome = Outcome(result.first, key, password, _answering_model(config) if result.first else None)
    connection.close()
    return outcome


def _wait(say: Callable[[str], None], patience: float) -> None:
    end, waiting = time.monotonic() + patience, False
    while True:
        try:
            connection.ensure_connection()
        except OperationalError as error:
            if time.monotonic() > end or connection.vendor == "sqlite":
                # The driver's words name hosts and users, which the operator knows and a log may not.
                raise DatabaseUnavailableError(
                    f"the database does not answer ({type(error.__cause__).__name__}):"
                    " is LLM_GATEWAY_DATABASE_URL right, and is it up?"
                ) from error
            if not waiting:
                say("Waiting for the database ...")
            waiting = True
            time.sleep(1.0)
        else:
            return


def _locked() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
        return bool(cursor.fetchone() == (True,))


@contextlib.contextmanager
def _alone(config: Config) -> Iterator[None]:
    """Only one of the processes that start on this database is in here at a time."""
    if connection.vendor == "postgresql":
        # Asked again and again: one statement that waits would be what an index that is built beside writers
        # waits for.
        while not _locked():
            time.sleep(_LOCK_SECONDS)
        try:
            yield
        finally:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])
        return
    config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (config.data_dir / "setup.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _seed_config(config: Config) -> SeedConfig:
    return SeedConfig(
        providers={
            name: ProviderSeed(base_url=said.base_url, api_key=said.api_key)
            for name, said in config.providers.items()
        },
        default_provider=config.default_provider,
        production=config.production,
        bootstrap_key=config.bootstrap_key,
        document=config.document,
        environ=config.environ,
    )


def _first_admin(config: Config) -> str | None:
    """Make the admin where no user could log in as one. Returns the password if it made one up."""
    users = get_user_model()._default_manager
    if users.filter(is_superuser=True).exists():
        return None
    password = config.admin_password or secrets.token_urlsafe(15)
    user = users.filter(username=ADMIN).first() or get_user_model()(username=ADMIN)
    user.is_staff = user.is_superuser = user.is_active = True
    user.set_password(password)
    user.save()
    return None if config.admin_password else password


def _answering_model(config: Config) -> str | None:
    named = set(Credential.objects.filter(enabled=True).values_list("provider__name", flat=True))
    if "openai" in named:
        return "gpt-4o-mini"
    if "anthropic" in named:
        return "claude-haiku-4-5"
    return _ollama_model(config) or (None if config.production else "sandbox")


def _ollama_model(config: Config) -> str | None:
    """A model of the local Ollama, where one runs."""
    address = config.providers["ollama"].base_url or "http://localhost:11434"
    try:
        with urllib.request.urlopen(address + "/api/tags", timeout=_OLLAMA_SECONDS) as reply:  # noqa: S310 - the scheme is checked by env
            models = json.load(reply)["models"]
        return str(models[0]["name"]) if models else None
    except (URLError, OSError, ValueError, KeyError, TypeError, IndexError):
        return None
