"""All settings of one process as one value, whatever said them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from console.oidc.settings import OidcSettings
from gateway_project.otel_env import TraceSettings
from gateway_project.secrets import Secrets


@dataclass(frozen=True, slots=True)
class ProviderValues:
    """What was said of one provider; None: nothing."""

    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class GrpcSettings:
    """Of `manage.py grpcserver`. `status_port`: where /health, /ready and /metrics are over HTTP; None:
    nowhere. `certificate` and `key`: files in PEM; None: no TLS."""

    host: str
    port: int
    status_port: int | None
    certificate: Path | None
    key: Path | None


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of one process. `document` is config.yaml as plain data, None without one, and `environ`
    is where its `env:NAME` look; `database` is a row of Django's DATABASES without options."""

    environment: Literal["development", "production"]
    host: str
    port: int
    server: Literal["daphne", "uvicorn"]
    workers: int
    max_calls: int | None
    memory_mb: int | None
    cache_mb: int
    cache_team_mb: int
    vectors_url: str | None = field(repr=False)
    vectors_mb: int
    ledger_days: int | None
    ledger_journal_mb: int
    log_level: str
    data_dir: Path
    database: Mapping[str, Any] = field(repr=False)
    redis_url: str | None = field(repr=False)
    cache_redis_url: str | None = field(repr=False)
    public_url: str | None
    cors_origins: tuple[str, ...]
    approval: frozenset[str]
    providers: Mapping[str, ProviderValues]
    default_provider: str | None
    document: Any = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)
    bootstrap_key: str | None = field(repr=False)
    admin_password: str | None = field(repr=False)
    metrics_token: str | None = field(repr=False)
    traces: TraceSettings | None
    grpc: GrpcSettings
    oidc: OidcSettings | None
    secrets: Secrets = field(repr=False)

    @property
    def last_good(self) -> Path:
        """Where the last configuration that was read is kept, sealed."""
        return self.data_dir / "last-good"

    @property
    def production(self) -> bool:
        return self.environment == "production"
