"""Every setting: its default, what it takes, what it refuses, and which of two sources wins."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gateway_project.config import Config
from gateway_project.env import PREFIX, SettingsError, load
from gateway_project.env_names import NAMES, SERVER_FIELDS
from gateway_project.secrets import Secrets
from routing.configfile import load_yaml, parse

ROOT = Path(__file__).resolve().parent.parent.parent
SECRET = "a-master-secret-of-the-tests-0123456789"


def read(folder: Path, file: str | None = None, **values: str) -> Config:
    if file is not None:
        (folder / "config.yaml").write_text(file)
    return load({PREFIX + name: value for name, value in values.items()}, folder)


def problems(folder: Path, file: str | None = None, **values: str) -> str:
    with pytest.raises(SettingsError) as refused:
        read(folder, file, **values)
    return "\n".join(refused.value.problems)


def test_defaults(tmp_path: Path) -> None:
    config = read(tmp_path)
    found = (config.host, config.port, config.server, config.workers, config.log_level, config.environment)
    assert found == ("127.0.0.1", 8080, "daphne", 1, "info", "development")
    assert config.data_dir == tmp_path / "var"
    assert config.database["ENGINE"] == "django.db.backends.sqlite3"
    assert (config.redis_url, config.public_url, config.default_provider, config.document) == (None,) * 4
    assert all(said.api_key is None and said.base_url is None for said in config.providers.values())


VALUES: list[tuple[str, str, str, Any]] = [
    ("SERVER_HOST", "0.0.0.0", "host", "0.0.0.0"),
    ("SERVER_PORT", "0", "port", 0),
    ("SERVER", "uvicorn", "server", "uvicorn"),
    ("WORKERS", "4", "workers", 4),
    ("LOG_LEVEL", "WARN", "log_level", "warn"),
    ("REDIS_URL", "redis://host:6379/0", "redis_url", "redis://host:6379/0"),
    ("REDIS_URL", "redis+sentinel://one,two/main/0", "redis_url", "redis+sentinel://one,two/main/0"),
    ("CACHE_REDIS_URL", "redis+cluster://one,two", "cache_redis_url", "redis+cluster://one,two"),
    ("PUBLIC_URL", "https://gateway.example.com/", "public_url", "https://gateway.example.com"),
    (
        "CORS_ORIGINS",
        " https://App.example.com/, http://localhost:3000,tauri://localhost",
        "cors_origins",
        ("https://app.example.com", "http://localhost:3000", "tauri://localhost"),
    ),
    ("APPROVAL", "Routes, prices", "approval", frozenset({"routes", "prices"})),
    ("APPROVAL", "off", "approval", frozenset()),
    ("PROVIDERS_DEFAULT", "ollama", "default_provider", "ollama"),
    ("BOOTSTRAP_KEY", "a-chosen-key-of-mine", "bootstrap_key", "a-chosen-key-of-mine"),
    ("ADMIN_PASSWORD", "correct horse", "admin_password", "correct horse"),
    ("METRICS_TOKEN", "$not-a-variable", "metrics_token", "$not-a-variable"),
]


@pytest.mark.parametrize(("name", "text", "field", "value"), VALUES)
def test_values(tmp_path: Path, name: str, text: str, field: str, value: Any) -> None:
    assert getattr(read(tmp_path, **{name: text}), field) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SERVER_PORT", "http"),
        ("SERVER_PORT", "65536"),
        ("SERVER_PORT", "-1"),
        ("SERVER_PORT", "8080.5"),
        ("SERVER", "gunicorn"),
        ("WORKERS", "0"),
        ("WORKERS", "many"),
        ("LOG_LEVEL", "verbose"),
        ("ENVIRONMENT", "prod"),
        ("DATABASE_URL", "mysql://u:hunter2@host/db"),
        ("DATABASE_URL", "postgres://u:hunter2@host:port/db"),
        ("DATABASE_URL", "hunter2"),
        ("REDIS_URL", "http://:hunter2@host"),
        ("REDIS_URL", "hunter2"),
        ("REDIS_URL", "redis+sentinel://:hunter2@one,two"),
        ("CACHE_REDIS_URL", "redis+cluster://:hunter2@one/3"),
        ("PUBLIC_URL", "gateway.example.com"),
        ("APPROVAL", "everything"),
        ("APPROVAL", "all, routes"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "null"),
        ("CORS_ORIGINS", "https://*.example.com"),
        ("CORS_ORIGINS", "app.example.com"),
        ("CORS_ORIGINS", "https://app.example.com/page"),
        ("PROVIDERS_OPENAI_BASE_URL", "ftp://host/v1"),
        ("PROVIDERS_OPENAI_BASE_URL", "https://user:hunter2@host/v1"),
        ("PROVIDERS_ANTHROPIC_BASE_URL", "https://api.anthropic.com/v1"),
        ("PROVIDERS_OLLAMA_BASE_URL", "localhost:11434"),
        ("PROVIDERS_OLLAMA_BASE_URL", "http://169.254.169.254"),
        ("BOOTSTRAP_KEY", "hunter2"),
        ("ADMIN_PASSWORD", "hunter2"),
        ("SECRET_KEY", "hunter2"),
        ("SECRET_KEY", "a" * 64),
        ("SECRET_KEY_FALLBACKS", "hunter2"),
        ("CONFIG", "nowhere.yaml"),
    ],
)
def test_a_malformed_value_is_named_and_no_secret_shown(tmp_path: Path, name: str, text: str) -> None:
    said = problems(tmp_path, **{name: text})
    assert said.startswith(PREFIX + name + ":")
    assert "hunter2" not in said


def test_an_unknown_name_is_refused_with_the_nearest_known(tmp_path: Path) -> None:
    said = problems(tmp_path, SERVER_PROT="1")
    assert said == "LLM_GATEWAY_SERVER_PROT: no such setting (did you mean LLM_GATEWAY_SERVER_PORT?)"


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    said = problems(tmp_path, WORKERS="x", SERVER_PORT="y", NONSENSE="z").splitlines()
    assert len(said) == 3


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_value_is_as_none(tmp_path: Path, name: str) -> None:
    assert repr(read(tmp_path, **{name: " "})) == repr(read(tmp_path))


def test_the_plain_names_of_the_sdks_serve_too(tmp_path: Path) -> None:
    plain = {"OPENAI_API_KEY": "sk-plain", "ANTHROPIC_API_KEY": "sk-ant-plain"}
    config = load(plain, tmp_path)
    assert config.providers["openai"].api_key == "sk-plain"
    assert config.providers["anthropic"].api_key == "sk-ant-plain"
    ours = load({**plain, "LLM_GATEWAY_PROVIDERS_OPENAI_API_KEY": "sk-ours"}, tmp_path)
    assert ours.providers["openai"].api_key == "sk-ours"


FILE = """
server: {port: 9000, workers: 3, log_level: debug}
providers:
  openai: {api_key: "env:MY_KEY", base_url: "https://proxy.example.com/v1/"}
  default: ollama
routes: []
"""


def test_the_file_counts_where_the_environment_is_silent(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(FILE)
    config = load({"MY_KEY": "sk-file"}, tmp_path)
    assert (config.port, config.workers, config.log_level, config.default_provider) == (
        9000,
        3,
        "debug",
        "ollama",
    )
    said = config.providers["openai"]
    assert (said.api_key, said.base_url) == ("sk-file", "https://proxy.example.com/v1")


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(FILE)
    values = {
        "LLM_GATEWAY_SERVER_PORT": "9001",
        "LLM_GATEWAY_PROVIDERS_DEFAULT": "openai",
        "OPENAI_API_KEY": "sk-env",
        "LLM_GATEWAY_PROVIDERS_OPENAI_BASE_URL": "https://other.example.com/v1",
    }
    config = load(values, tmp_path)
    assert (config.port, config.default_provider) == (9001, "openai")
    said = config.providers["openai"]
    assert (said.api_key, said.base_url) == ("sk-env", "https://other.example.com/v1")


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("server: {prot: 1}", "server.prot: no such setting (did you mean port?)"),
        ("server: {port: x}", "server.port: 'x' is not a number"),
        ("server: {port: [1]}", "server.port: expected one value"),
        ("server: 7", "server: expected fields"),
        ("providers: {openai: {api_key: 'env:MISSING'}}", "providers.openai.api_key: the environment has no"),
        ("providers: {openai: {base_url: 'nonsense'}}", "providers.openai.base_url:"),
        ("server: {port: 1, port: 2}", "written twice"),
        ("server: [", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_told_with_the_place(tmp_path: Path, file: str, words: str) -> None:
    assert words in problems(tmp_path, file)


def test_another_file_by_name(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("server: {port: 9100}")
    assert read(tmp_path, CONFIG="other.yaml").port == 9100


def test_a_postgres_url(tmp_path: Path) -> None:
    database = read(tmp_path, DATABASE_URL="postgres://u:p%40ss@db.example.com:5433/name").database
    found = {name: database[name] for name in ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT")}
    assert found == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "name",
        "USER": "u",
        "PASSWORD": "p@ss",
        "HOST": "db.example.com",
        "PORT": 5433,
    }


def test_no_secret_in_the_repr(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        SECRET_KEY=SECRET,
        PROVIDERS_OPENAI_API_KEY="sk-canary-1",
        BOOTSTRAP_KEY="canary-2-0123456789",
        ADMIN_PASSWORD="canary-3-password",
        METRICS_TOKEN="canary-4",
        DATABASE_URL="postgres://u:canary-5@host/db",
        REDIS_URL="redis://:canary-6@host",
    )
    assert "canary" not in repr(config)
    assert SECRET not in repr(config)


def test_s27_old_secrets_are_read_in_their_order(tmp_path: Path) -> None:
    old = [f"{number}-of-the-old-secrets-0123456789abcdef" for number in range(2)]
    config = read(tmp_path, SECRET_KEY=SECRET, SECRET_KEY_FALLBACKS=f" {old[0]}, {old[1]} ,")
    assert config.secrets == Secrets.derived(SECRET, *old)
    assert not any(each in repr(config) for each in old)


def test_production_needs_a_secret(tmp_path: Path) -> None:
    assert "SECRET_KEY: production needs one" in problems(tmp_path, ENVIRONMENT="production")
    assert read(tmp_path, ENVIRONMENT="production", SECRET_KEY=SECRET).production


def test_the_examples_name_exactly_the_settings() -> None:
    example = (ROOT / ".env.example").read_text()
    assert set(re.findall(r"^#LLM_GATEWAY_([A-Z_]+)=", example, re.MULTILINE)) == set(NAMES)
    table = set(re.findall(r"^\| `LLM_GATEWAY_([A-Z_]+)`", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert table == set(NAMES)


def test_the_shipped_file_is_harmless_and_its_comments_are_right(tmp_path: Path) -> None:
    text = (ROOT / "config.yaml").read_text()
    assert repr(read(tmp_path, text)) == repr(read(tmp_path)).replace("document=None", "document=...")
    body = text[text.index("\nserver:") :]
    open_ = re.sub(r": (\{\}|\[\])( *#.*)?$", ":", re.sub(r"(?m)^#(  )", r" \1", body), flags=re.MULTILINE)
    document = load_yaml(open_)
    assert set(document["server"]) == set(SERVER_FIELDS)
    parsed = parse(document)
    assert parsed.providers
    assert parsed.routes
    assert parsed.teams
    assert parsed.keys
    assert parsed.models
