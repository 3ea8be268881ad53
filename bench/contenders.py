"""The gateways that are compared: how each is installed, started in front of the mock, and called."""

import importlib.metadata
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Launch

CHECKOUT = Path(__file__).resolve().parent.parent
KEY = "sk-bench-0123456789abcdef0123456789abcdef"  # every contender's client key; worth nothing anywhere
_SECRET = secrets.token_hex(24)  # of gateways that live for a minute
OPENAI_MODEL = "gpt-4o-mini"
ANTHROPIC_MODEL = "claude-sonnet-4-5"
_INSTALL_SECONDS = 900


class UnavailableError(Exception):
    """A contender that cannot be installed or started here; the text says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a contender is given for one start: its port, the mock's, a fresh folder, its installed files."""

    port: int
    upstream: int
    folder: Path
    home: Path

    @property
    def openai(self) -> str:
        """OpenAI's base URL, as its SDK takes it."""
        return f"http://127.0.0.1:{self.upstream}/v1"

    @property
    def anthropic(self) -> str:
        """Anthropic's base URL, as its SDK takes it."""
        return f"http://127.0.0.1:{self.upstream}"

    def write(self, name: str, text: str) -> str:
        """Write a file into the folder; returns its path."""
        path = self.folder / name
        path.write_text(text)
        return str(path)


@dataclass(frozen=True, slots=True)
class Contender:
    """One row of the table.

    `install` makes `home` ready (cheaply, if it is) and returns the version; `launch` says how to start it;
    `headers` are what a client sends that wants a model; `cross_model` is the name that leads an OpenAI
    client to the mock's Anthropic endpoint, empty where that is not set up; `announces` is true of a server
    that takes a port of its own and prints its base URL.
    """

    name: str
    title: str
    install: Callable[[Path], str]
    launch: Callable[[Place], Launch]
    headers: Callable[[Place, str], Mapping[str, str]]
    model: str = OPENAI_MODEL
    cross_model: str = ANTHROPIC_MODEL
    announces: bool = False


def cache_folder() -> Path:
    """Where peers are installed: outside the checkout, kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "llm-gateway-bench"


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{command[0]}: {error}") from error
    if done.returncode:
        raise UnavailableError(f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()[-400:]}")


def _from_pypi(package: str, requirement: str) -> Callable[[Path], str]:
    """Install into a virtual environment of its own. `python -I` keeps this checkout off its import path."""

    def install(home: Path) -> str:
        python = home / "bin" / "python"
        asked = [str(python), "-I", "-c", f"import importlib.metadata as m; print(m.version({package!r}))"]
        for attempt in ("found", "installed"):
            if python.exists():
                answer = subprocess.run(asked, capture_output=True, text=True, check=False)
                if answer.returncode == 0:
                    return answer.stdout.strip()
            if attempt == "found":
                print(f"  installing {requirement} into {home} ...", flush=True)
                home.mkdir(parents=True, exist_ok=True)
                _run([sys.executable, "-m", "venv", str(home)], home)
                _run(
                    [
                        str(python),
                        "-m",
                        "pip",
                        "install",
                        "--quiet",
                        "--disable-pip-version-check",
                        requirement,
                    ],
                    home,
                )
        raise UnavailableError(f"{requirement} installed but not importable")

    return install


def _from_npm(package: str, overrides: Mapping[str, str]) -> Callable[[Path], str]:
    """Install with npm; `overrides` are versions that its dependencies must have where its own are wrong."""

    def install(home: Path) -> str:
        installed = home / "node_modules" / package / "package.json"
        wanted = {"private": True, "dependencies": {package: "*"}, "overrides": overrides}
        manifest = home / "package.json"
        if not installed.exists() or not manifest.exists() or json.loads(manifest.read_text()) != wanted:
            print(f"  installing {package} into {home} ...", flush=True)
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(parents=True)
            manifest.write_text(json.dumps(wanted))
            _run(
                ["npm", "install", "--no-fund", "--no-audit", "--loglevel=error", "--prefix", str(home)], home
            )
        return str(json.loads(installed.read_text())["version"])

    return install


def _bearer(_: Place, __: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {KEY}"}


def _own_version(_: Path) -> str:
    if not (CHECKOUT / "manage.py").exists():
        raise UnavailableError("this checkout has no manage.py")
    git = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty"]
    described = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    django = importlib.metadata.version("django")
    return f"{described or 'unversioned'} (Django {django})"


def _nothing(_: Place) -> str:
    return "{}\n"


def own(server: str, configured: Callable[[Place], str] = _nothing) -> Contender:
    """This gateway; `configured` writes its configuration file."""

    def launch(place: Place) -> Launch:
        environment = {
            # As in production, with every default policy on; its log goes to the bench's file.
            "LLM_GATEWAY_ENVIRONMENT": "production",
            "LLM_GATEWAY_SECRET_KEY": _SECRET,
            "LLM_GATEWAY_ADMIN_PASSWORD": _SECRET,
            "LLM_GATEWAY_LOG_LEVEL": "info",
            "LLM_GATEWAY_WORKERS": "1",
            # None of this checkout's own settings.
            "LLM_GATEWAY_CONFIG": place.write("config.yaml", configured(place)),
            "LLM_GATEWAY_DATA_DIR": str(place.folder / "data"),
            "LLM_GATEWAY_BOOTSTRAP_KEY": KEY,
            "LLM_GATEWAY_SERVER": server,
            "LLM_GATEWAY_SERVER_PORT": str(place.port),
            "LLM_GATEWAY_PROVIDERS_OPENAI_API_KEY": "sk-upstream",
            "LLM_GATEWAY_PROVIDERS_OPENAI_BASE_URL": place.openai,
            "LLM_GATEWAY_PROVIDERS_ANTHROPIC_API_KEY": "sk-upstream",
            "LLM_GATEWAY_PROVIDERS_ANTHROPIC_BASE_URL": place.anthropic,
        }
        return Launch([sys.executable, "manage.py", "serve"], environment, CHECKOUT)

    return Contender(server, f"this gateway, {server}", _own_version, launch, _bearer)


def _litellm(place: Place) -> Launch:
    def model(name: str, provider: str, base: str) -> dict[str, object]:
        return {
            "model_name": name,
            "litellm_params": {"model": f"{provider}/{name}", "api_base": base, "api_key": "sk-upstream"},
        }

    document = {
        "model_list": [
            model(OPENAI_MODEL, "openai", place.openai),
            model(ANTHROPIC_MODEL, "anthropic", place.anthropic),
        ],
        "general_settings": {"master_key": KEY},
        "litellm_settings": {"telemetry": False},
    }
    config = place.write("config.yaml", json.dumps(document))  # JSON is YAML
    environment = {
        # Its price list from its own package: no traffic off this machine.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",  # what its guide to production advises
        "LITELLM_MODE": "PRODUCTION",
    }
    command = [str(place.home / "bin" / "litellm"), "--config", config, "--host", "127.0.0.1"]
    command += ["--port", str(place.port), "--num_workers", "1", "--telemetry", "False"]
    return Launch(command, environment, place.folder)


def _portkey(place: Place) -> Launch:
    script = place.home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    return Launch(
        ["node", str(script), f"--port={place.port}", "--headless"], {"NODE_ENV": "production"}, place.folder
    )


def _portkey_headers(place: Place, model: str) -> Mapping[str, str]:
    """It keeps no keys: the caller names the provider, and its bearer is the provider's key."""
    provider = "anthropic" if model == ANTHROPIC_MODEL else "openai"
    return {**_bearer(place, model), "x-portkey-provider": provider, "x-portkey-custom-host": place.openai}


def _smg(place: Place) -> Launch:
    command = [str(place.home / "bin" / "smg"), "launch", "--host", "127.0.0.1", "--port", str(place.port)]
    command += ["--worker-urls", place.anthropic, "--backend", "openai", "--policy", "round_robin"]
    command += ["--disable-tokenizer-autoload", "--prometheus-host", "127.0.0.1", "--log-level", "warn"]
    return Launch(command, {}, place.folder)


def _ferro(place: Place) -> Launch:
    document = {"strategy": {"mode": "fallback"}, "targets": [{"virtual_key": "openai"}]}
    environment = {
        "GATEWAY_CONFIG": place.write("config.yaml", json.dumps(document)),
        "MASTER_KEY": KEY,
        "PORT": str(place.port),
        "OPENAI_API_KEY": "sk-upstream",
        "OPENAI_BASE_URL": place.anthropic,
        # Its own copy of the model catalogue: no traffic off this machine.
        "FERRO_MODEL_CATALOG_URL": f"{place.anthropic}/none",
        # Its default of a few requests a second would be all that is measured.
        "RATE_LIMIT_RPS": "1000000",
        "RATE_LIMIT_BURST": "1000000",
        "LOG_LEVEL": "error",
    }
    return Launch([str(place.home / "bin" / "ferrogw"), "serve"], environment, place.folder)


# The package is TensorZero's Python client; the whole gateway is inside it, with a server for the client.
_TENSORZERO_SERVER = """
import sys
import threading
import tensorzero
nothing = dict(clickhouse_url=None, postgres_url=None, valkey_url=None)
gateway = tensorzero._start_http_gateway(config_file=sys.argv[1], async_setup=False, **nothing)
print("base url:", gateway.base_url, flush=True)
threading.Event().wait()
"""
_TENSORZERO_PREFIX = "tensorzero::model_name::"


def _tensorzero(place: Place) -> Launch:
    def model(name: str, provider: str, base: str) -> str:
        return (
            f'[models."{name}"]\nrouting = ["mock"]\n[models."{name}".providers.mock]\ntype = "{provider}"\n'
            f'model_name = "{name}"\napi_base = "{base}"\napi_key_location = "env::UPSTREAM_KEY"\n'
        )

    config = place.write(
        "tensorzero.toml",
        "[gateway]\nobservability.enabled = false\ndisable_pseudonymous_usage_analytics = true\n"
        + model(OPENAI_MODEL, "openai", place.openai)
        + model(ANTHROPIC_MODEL, "anthropic", f"{place.openai}/"),
    )
    script = place.write("serve.py", _TENSORZERO_SERVER)
    environment = {"UPSTREAM_KEY": "sk-upstream", "RUST_LOG": "error"}
    return Launch([str(place.home / "bin" / "python"), "-I", script, config], environment, place.folder)


CONTENDERS: tuple[Contender, ...] = (
    own("daphne"),
    own("uvicorn"),
    Contender("litellm", "LiteLLM proxy", _from_pypi("litellm", "litellm[proxy]"), _litellm, _bearer),
    Contender(
        "portkey",
        "Portkey (Node)",
        # The one it was built with: with newer ones, every stream of 1.15.2 is a 500 (its issue 1389).
        _from_npm("@portkey-ai/gateway", {"@hono/node-server": "1.13.5"}),
        _portkey,
        _portkey_headers,
    ),
    Contender("smg", "smg (Rust)", _from_pypi("smg", "smg"), _smg, _bearer, cross_model=""),
    Contender(
        "tensorzero",
        "TensorZero (Rust)",
        _from_pypi("tensorzero", "tensorzero"),
        _tensorzero,
        _bearer,
        model=_TENSORZERO_PREFIX + OPENAI_MODEL,
        cross_model=_TENSORZERO_PREFIX + ANTHROPIC_MODEL,
        announces=True,
    ),
    Contender("ferro", "Ferro (Go)", _from_pypi("ferrogw", "ferrogw"), _ferro, _bearer, cross_model=""),
)
OWN = ("daphne", "uvicorn")
DEFAULT = (*OWN, "litellm")
