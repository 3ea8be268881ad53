"""What the environment and config.yaml say, checked and merged into one value. The environment wins."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from environ import Env

from accounts.keys import WeakKeyError, check_chosen
from gateway_project.config import Config, GrpcSettings, ProviderValues
from gateway_project.env_names import NAMES, SERVER_FIELDS
from gateway_project.oidc_env import oidc_settings
from gateway_project.otel_env import trace_settings
from gateway_project.secrets import Secrets, WeakSecretError, check_password, check_strength, master_secret
from providers.base_urls import BaseUrlError, check_base_url
from routing.configfile import ConfigError, load_yaml, secret_of
from routing.risks import checked_groups, groups_named

PREFIX = "LLM_GATEWAY_"
# The plain names that the SDKs read serve too, after ours.
_PLAIN_KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
SEEDED = ("openai", "anthropic", "ollama")

Value = TypeVar("Value")
# Apps made of web pages have schemes of their own, such as tauri://localhost.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")


class SettingsError(Exception):
    """The configuration is wrong. `problems`: one line each that names the value; no secret is in them."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(environ: Mapping[str, str], folder: Path) -> Config:
    """The configuration of a process that was started in `folder`. Raises SettingsError with all problems.

    Reads config.yaml, and in development makes the data folder and a master secret where there is none.
    """
    reader = _Reader(environ, folder)
    config = reader.config()
    if reader.problems or config is None:
        raise SettingsError(reader.problems)
    return config


class _Reader:
    """Reads one value after the other and keeps going, so that one start tells everything that is wrong."""

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self.problems: list[str] = []
        self._environ = {name: value for name, value in environ.items() if value.strip()}
        self._folder = folder
        for name in self._environ:
            if name.startswith(PREFIX) and name[len(PREFIX) :] not in NAMES:
                near = difflib.get_close_matches(name[len(PREFIX) :], NAMES, 1)
                hint = f" (did you mean {PREFIX}{near[0]}?)" if near else ""
                self.problems.append(f"{name}: no such setting{hint}")
        self._document = self._file()
        self._server = self._section("server", SERVER_FIELDS)

    def config(self) -> Config | None:
        """The configuration; None where `problems` say why not."""
        environment = self._choice("ENVIRONMENT", ("development", "production"), "development")
        data_dir = self._folder / (self._text("DATA_DIR") or "var")
        providers = {name: self._provider(name) for name in SEEDED}
        redis_url, cache_redis_url = self._redis("REDIS_URL"), self._redis("CACHE_REDIS_URL")
        values: dict[str, Any] = {
            "environment": environment,
            "host": self._text("SERVER_HOST") or "127.0.0.1",
            "port": self._number("SERVER_PORT", 8080, 0, 65535),
            "server": self._choice("SERVER", ("daphne", "uvicorn"), "daphne"),
            # More than this is a typing error on any machine that there is.
            "workers": self._number("WORKERS", 1, 1, 512),
            "max_calls": self._maybe_number("MAX_CALLS", 1, 10_000_000),
            # Less than this does not even start.
            "memory_mb": self._maybe_number("MEMORY_MB", 64, 16 * 1024 * 1024),
            # Enough for tens of thousands of usual answers, and one team cannot take all of it.
            "cache_mb": self._number("CACHE_MB", 64, 1, 1024 * 1024),
            "cache_team_mb": self._number("CACHE_TEAM_MB", 16, 1, 1024 * 1024),
            "vectors_url": self._url("VECTORS_URL", ("postgres", "postgresql")),
            "vectors_mb": self._number("VECTORS_MB", 128, 1, 1024 * 1024),  # a hundred thousand questions
            # A quarter for who looks at last month's bill; the sums of days are kept for good.
            "ledger_days": self._days("LEDGER_DAYS", 92),
            # Some 200,000 calls: an hour of an outage at 60 a second.
            "ledger_journal_mb": self._number("LEDGER_JOURNAL_MB", 256, 1, 1024 * 1024),
            "log_level": self._choice("LOG_LEVEL", ("debug", "info", "warn", "error"), "info"),
            "data_dir": data_dir,
            "database": self._database(data_dir),
            "redis_url": redis_url,
            "cache_redis_url": cache_redis_url or redis_url,
            "public_url": self._url("PUBLIC_URL", ("http", "https")),
            "cors_origins": self._origins("CORS_ORIGINS"),
            # Two people for everything risky is a rule that a deployment makes for itself.
            "approval": groups_named(self._checked("APPROVAL", checked_groups, ValueError) or ""),
            "providers": providers,
            "default_provider": self._default_provider(),
            "document": self._document,
            "environ": self._environ,
            "bootstrap_key": self._checked("BOOTSTRAP_KEY", check_chosen, WeakKeyError),
            "admin_password": self._checked("ADMIN_PASSWORD", check_password, ValueError),
            "metrics_token": self._text("METRICS_TOKEN"),
            "traces": trace_settings(self._environ, self.problems),
            "grpc": self._grpc(),
        }
        values["oidc"] = oidc_settings(self._environ, values["public_url"], self.problems)
        old = self._fallbacks()
        if self.problems:
            return None
        try:
            master = master_secret(self._text("SECRET_KEY"), data_dir, production=environment == "production")
        except WeakSecretError as error:
            self.problems.append(f"{PREFIX}SECRET_KEY: {error}")
            return None
        except OSError as error:
            self.problems.append(f"{PREFIX}DATA_DIR: {data_dir} cannot be written: {error.strerror}")
            return None
        return Config(**values, secrets=Secrets.derived(master, *old))

    # -- where a value comes from

    def _text(self, name: str) -> str | None:
        value = self._environ.get(PREFIX + name)
        if value is not None:
            return value.strip()
        for key, variable in SERVER_FIELDS.items():
            if variable == name and self._server.get(key) is not None:
                return str(self._server[key]).strip()
        return None

    def _where(self, name: str) -> str:
        """How a value's place is called in a complaint."""
        keys = [key for key, variable in SERVER_FIELDS.items() if variable == name]
        if PREFIX + name not in self._environ and keys:
            return f"config file, server.{keys[0]}"
        return PREFIX + name

    def _file(self) -> Any:
        named = self._environ.get(PREFIX + "CONFIG")
        path = self._folder / (named or "config.yaml")
        if named is None and not path.exists():
            return None
        try:
            return load_yaml(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            self.problems.append(f"{PREFIX}CONFIG: {path} cannot be read: {reason}")
        except ConfigError as error:
            self.problems += [f"{path.name}: {problem}" for problem in error.problems]
        return None

    def _section(self, name: str, known: Mapping[str, str]) -> dict[str, Any]:
        found = self._document.get(name) if isinstance(self._document, dict) else None
        if found is None:
            return {}
        if not isinstance(found, dict):
            self.problems.append(f"config file, {name}: expected fields")
            return {}
        for key, value in found.items():
            if key not in known:
                near = difflib.get_close_matches(str(key), known, 1)
                hint = f" (did you mean {near[0]}?)" if near else ""
                self.problems.append(f"config file, {name}.{key}: no such setting{hint}")
            elif isinstance(value, dict | list):
                self.problems.append(f"config file, {name}.{key}: expected one value")
        return {key: value for key, value in found.items() if key in known}

    # -- one kind of value each

    def _choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        value = (self._text(name) or default).lower()
        if value not in choices:
            self.problems.append(f"{self._where(name)}: {value!r} is not one of {', '.join(choices)}")
        return value

    def _number(self, name: str, default: int, least: int, most: int) -> int:
        text = self._text(name)
        if text is None:
            return default
        try:
            value = int(Env.parse_value(text, int))
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            self.problems.append(f"{self._where(name)}: {text!r} is not a number from {least} to {most}")
        return value

    def _maybe_number(self, name: str, least: int, most: int) -> int | None:
        return None if self._text(name) is None else self._number(name, least, least, most)

    def _days(self, name: str, default: int) -> int | None:
        """A number of days, or `forever`."""
        if (self._text(name) or "").lower() == "forever":
            return None
        return self._number(name, default, 1, 36_500)

    def _url(self, name: str, schemes: tuple[str, ...]) -> str | None:
        text = self._text(name)
        if text is None:
            return None
        try:
            parts = urlsplit(text)
            whole = parts.scheme in schemes and bool(parts.netloc or parts.path)
        except ValueError:
            whole = False
        if not whole:
            # The value may hold a password, so it is not repeated.
            self.problems.append(f"{self._where(name)}: not a URL that begins with {' or '.join(schemes)}://")
        return text.rstrip("/")

    def _origins(self, name: str) -> tuple[str, ...]:
        """Origins as browsers write them. None that stands for several: who may call is named."""
        said = [each.strip().rstrip("/").lower() for each in (self._text(name) or "").split(",")]
        found = tuple(each for each in said if each)
        for each in found:
            if not _ORIGIN.fullmatch(each):
                self.problems.append(
                    f"{self._where(name)}: {each!r} is no origin such as https://app.example.com"
                )
        return found

    def _checked(self, name: str, check: Callable[[str], str], error: type[Exception]) -> str | None:
        text = self._text(name)
        if text is None:
            return None
        try:
            return check(text)
        except error as problem:
            self.problems.append(f"{self._where(name)}: {problem}")
            return None

    def _redis(self, name: str) -> str | None:
        if self._text(name) is None:
            return None
        # The library's own reading of an address; whoever has none does not pay 9 MiB for it.
        address = import_module("pipeline.redis_address")
        return self._checked(name, address.check_address, address.RedisAddressError)

    def _fallbacks(self) -> list[str]:
        """Master secrets from before a rotation."""
        given = [each.strip() for each in (self._text("SECRET_KEY_FALLBACKS") or "").split(",")]
        try:
            return [check_strength(each) for each in given if each]
        except WeakSecretError as error:
            self.problems.append(f"{PREFIX}SECRET_KEY_FALLBACKS: one of them is {error}")
            return []

    def _grpc(self) -> GrpcSettings:
        certificate, key = self._text("GRPC_TLS_CERTIFICATE"), self._text("GRPC_TLS_KEY")
        if (certificate is None) is not (key is None):
            self.problems.append(f"{PREFIX}GRPC_TLS_CERTIFICATE and {PREFIX}GRPC_TLS_KEY go together")
        return GrpcSettings(
            host=self._text("GRPC_HOST") or "127.0.0.1",
            port=self._number("GRPC_PORT", 50051, 0, 65535),
            status_port=self._maybe_number("GRPC_STATUS_PORT", 0, 65535),
            certificate=None if certificate is None else self._folder / certificate,
            key=None if key is None else self._folder / key,
        )

    def _database(self, data_dir: Path) -> dict[str, Any]:
        text = self._text("DATABASE_URL")
        if text is None:
            return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(data_dir / "gateway.sqlite3")}
        scheme = text.partition("://")[0]
        try:
            if scheme not in ("postgres", "postgresql", "sqlite"):
                raise ValueError(scheme)
            found = Env.db_url_config(text)
            port = found.get("PORT")
            if port and not str(port).isdigit():
                raise ValueError(port)
        except ValueError:
            self.problems.append(
                f"{self._where('DATABASE_URL')}: not a URL such as postgres://user:password@host:5432/name"
            )
            return {}
        if scheme == "sqlite" and found["NAME"] != ":memory:":
            found["NAME"] = str(self._folder / found["NAME"])
        return dict(found)

    def _provider(self, name: str) -> ProviderValues:
        said = self._providers().get(name)
        said = said if isinstance(said, dict) else {}
        upper = name.upper()
        key = self._environ.get(f"{PREFIX}PROVIDERS_{upper}_API_KEY")
        key = key or self._environ.get(_PLAIN_KEYS.get(name, ""))
        if key is None and isinstance(said.get("api_key"), str):
            try:
                key = secret_of(said["api_key"], self._environ, f"config file, providers.{name}.api_key")
            except ConfigError as error:
                self.problems += error.problems
        variable = f"PROVIDERS_{upper}_BASE_URL"
        url = self._environ.get(PREFIX + variable)
        where = PREFIX + variable
        if url is None and isinstance(said.get("base_url"), str) and said["base_url"]:
            url, where = said["base_url"], f"config file, providers.{name}.base_url"
        return ProviderValues(
            base_url=None if url is None else self._base_url(name, url.strip(), where),
            api_key=None if key is None else key.strip(),
        )

    def _base_url(self, name: str, url: str, where: str) -> str | None:
        try:
            # Whoever sets the environment runs the machine: a private address is theirs to choose.
            checked = check_base_url(url, allow_private=True)
        except BaseUrlError as error:
            self.problems.append(f"{where}: {error}")
            return None
        if name == "anthropic" and checked.endswith("/v1"):
            self.problems.append(f"{where}: Anthropic's base URL goes without /v1")
        return checked

    def _providers(self) -> dict[str, Any]:
        found = self._document.get("providers") if isinstance(self._document, dict) else None
        return found if isinstance(found, dict) else {}

    def _default_provider(self) -> str | None:
        named = self._environ.get(PREFIX + "PROVIDERS_DEFAULT")
        if named is None and isinstance(self._providers().get("default"), str):
            named = self._providers()["default"]
        return None if named is None else named.strip()


def from_process() -> Config:
    """The configuration of this process."""
    return load(os.environ, Path.cwd())
