"""Trying a provider row: one probe for each credential in use, all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from django.core.cache import cache

from providers.crypto import Vault, VaultError
from providers.kinds import KINDS
from providers.models import Provider
from providers.probe import Subject, Verdict, probe
from providers.transport import HttpTransport

# Seconds between two tests of one provider: a button is not a way to load somebody's server.
TEST_PAUSE = 5

_UNREADABLE = Verdict(ok=False, words="cannot be decrypted with the configured secret key: enter it again")
_UNKNOWN_KIND = Verdict(ok=False, words="its kind is not known to this version of the gateway")


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it. `credential`: its label and last four characters; empty where none was used."""

    credential: str
    verdict: Verdict

    @property
    def words(self) -> str:
        return f"{self.credential}: {self.verdict.words}" if self.credential else self.verdict.words


def take_turn(provider: Provider) -> bool:
    """Whether it may be tested now, and not again for some seconds."""
    return cache.add(f"provider-test-{provider.pk}", True, timeout=TEST_PAUSE)  # noqa: FBT003 - a mark, not a choice


def try_provider(provider: Provider, vault: Vault) -> list[Trial]:
    """Ask with each enabled credential, or once without where there is none. Blocks for 15 seconds at most;
    not to be called from an event loop."""
    if provider.kind not in KINDS:
        return [Trial("", _UNKNOWN_KIND)]
    rows = list(provider.credentials.filter(enabled=True))
    if not rows:
        return _asked([("", _subject(provider, None))])
    subjects: list[tuple[str, Subject | None]] = []
    for row in rows:
        try:
            subjects.append((str(row), _subject(provider, vault.open(row.sealed, provider.pk))))
        except VaultError:
            subjects.append((str(row), None))
    return _asked(subjects)


def _subject(provider: Provider, secret: str | None) -> Subject:
    return Subject(
        kind=KINDS[provider.kind],
        base_url=provider.address.rstrip("/"),
        connect=provider.connect_timeout,
        allow_private=provider.allow_private_addresses,
        secret=secret,
    )


def _asked(subjects: Sequence[tuple[str, Subject | None]]) -> list[Trial]:
    async def ask() -> list[Verdict]:
        transport = HttpTransport()

        async def one(subject: Subject | None) -> Verdict:
            return _UNREADABLE if subject is None else await probe(subject, transport)

        try:
            return await asyncio.gather(*(one(subject) for _, subject in subjects))
        finally:
            await transport.aclose()

    verdicts = asyncio.run(ask())
    return [Trial(name, verdict) for (name, _), verdict in zip(subjects, verdicts, strict=True)]
