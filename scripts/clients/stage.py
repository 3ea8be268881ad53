"""What the clients run against: the fake upstream with its two faults, and a whole gateway before it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from accounts.keys import issue
from tests.support.fake_upstream import FakeUpstream, Match
from tests.support.served import Served
from tests.support.upstream.script import Answer, Json, Reset, Step
from tests.support.upstream.wire import Received

_ROUTES = Path(__file__).resolve().parent / "gateway.yaml"
_BUSY = "The provider is busy."
# More than any dialect's opening and fewer than any answer to `count:99`.
_EVENTS_BEFORE_CUT = 12


@dataclass(slots=True)
class Stage:
    """A gateway and its upstream. `url` and `key` are what a client is given."""

    url: str
    key: str
    fake: FakeUpstream
    log: Path
    _read: int = 0

    def records(self) -> list[dict[str, Any]]:
        """What the gateway has logged of calls since the last time it was asked."""
        whole = self.log.read_bytes()
        end = whole.rfind(b"\n") + 1
        lines = whole[self._read : end].splitlines()
        self._read = end
        found = [json.loads(line) for line in lines if line.startswith(b"{")]
        return [record for record in found if record.get("provider")]


@contextmanager
def stage(server: str) -> Iterator[Stage]:
    """Start both, and end them. `server`: daphne or uvicorn."""
    fake = FakeUpstream().start()
    fake.script(Match(where=lambda request: b"fault:busy" in request.body), _busy)
    fake.script(
        Match(where=lambda request: b"fault:cut" in request.body), [Answer(_EVENTS_BEFORE_CUT), Reset()]
    )
    key = issue()
    environ = {
        # Its logs are JSON, and it has no sandbox that could answer instead of a provider.
        "LLM_GATEWAY_ENVIRONMENT": "production",
        "LLM_GATEWAY_SECRET_KEY": secrets.token_urlsafe(48),
        "LLM_GATEWAY_SERVER": server,
        "LLM_GATEWAY_BOOTSTRAP_KEY": key,
        "LLM_GATEWAY_CONFIG": str(_ROUTES),
        "LLM_GATEWAY_PROVIDERS_DEFAULT": "ollama",
        "LLM_GATEWAY_PROVIDERS_OPENAI_API_KEY": "sk-made-up-0123456789",
        "LLM_GATEWAY_PROVIDERS_OPENAI_BASE_URL": fake.openai_url,
        "LLM_GATEWAY_PROVIDERS_ANTHROPIC_API_KEY": "sk-ant-made-up-0123456789",
        "LLM_GATEWAY_PROVIDERS_ANTHROPIC_BASE_URL": fake.anthropic_url,
        "LLM_GATEWAY_PROVIDERS_OLLAMA_BASE_URL": fake.url,
    }
    try:
        with TemporaryDirectory(prefix="clients-") as folder, Served(Path(folder), **environ) as gateway:
            yield Stage(gateway.url, key, fake, Path(folder) / "log")
    finally:
        fake.stop()


def _busy(request: Received) -> Sequence[Step]:
    """A refusal for the time being, in the provider's own words."""
    said: dict[str, Any] = {"type": "rate_limit_error", "message": _BUSY}
    body: dict[str, Any] = {"error": {**said, "param": None, "code": "rate_limit_exceeded"}}
    if "/api/" in request.path:
        body = {"error": _BUSY}
    elif request.path.endswith("/messages"):
        body = {"type": "error", "error": said}
    # A pause that is over before the next case asks; clients are told whole seconds.
    return [Json(429, body, {"retry-after-ms": "2"})]
