"""manage.py providers test: whether a provider can be reached and accepts its credentials."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from providers.apps import vault
from providers.crypto import VaultError
from providers.kinds import KINDS
from providers.models import Provider
from providers.probe import Subject, Verdict, probe
from providers.transport import HttpTransport

_UNREADABLE = Verdict(ok=False, words="it cannot be decrypted with the configured secret key")


class Command(BaseCommand):
    """Tests a provider with each of its enabled credentials. Exit status 1 when one cannot be used."""

    help = "Test whether a provider can be reached and accepts its credentials."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        testing = actions.add_parser("test", help="ask a path of the provider that costs nothing")
        testing.add_argument("name", metavar="NAME", help="the provider's name")

    def handle(self, *args: Any, **options: Any) -> None:
        provider = Provider.objects.filter(name=options["name"]).first()
        if provider is None:
            known = ", ".join(Provider.objects.values_list("name", flat=True)) or "none"
            raise CommandError(f"No provider has this name. There are: {known}")
        if provider.kind not in KINDS:
            raise CommandError(f"{provider.name}: its kind is not known to this version of the gateway")
        state = "" if provider.enabled else " (disabled)"
        self.stdout.write(f"{provider.name} at {provider.address}{state}")
        failed = 0
        for label, subject in self._subjects(provider):
            verdict = _UNREADABLE if subject is None else asyncio.run(_try(subject))
            failed += not verdict.ok
            mark = "ok" if verdict.ok else "FAILED"
            self.stdout.write(f"  {mark}  {label}{verdict.words}")
        if failed:
            raise CommandError(f"{provider.name} cannot be used as it is.")

    def _subjects(self, provider: Provider) -> list[tuple[str, Subject | None]]:
        """A prefix for the line, and what to ask: for each enabled credential (None where it cannot be
        opened), or once without a secret where there is none."""
        rows = list(provider.credentials.filter(enabled=True))
        if not rows:
            return [("", _subject(provider, None))]
        found: list[tuple[str, Subject | None]] = []
        for row in rows:
            try:
                subject = _subject(provider, vault().open(row.sealed, provider.pk))
            except VaultError:
                subject = None
            found.append((f"{row}: ", subject))
        return found


def _subject(provider: Provider, secret: str | None) -> Subject:
    return Subject(
        kind=KINDS[provider.kind],
        base_url=provider.address.rstrip("/"),
        connect=provider.connect_timeout,
        allow_private=provider.allow_private_addresses,
        secret=secret,
    )


async def _try(subject: Subject) -> Verdict:
    transport = HttpTransport()
    try:
        return await probe(subject, transport)
    finally:
        await transport.aclose()
