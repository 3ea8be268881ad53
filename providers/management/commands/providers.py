"""manage.py providers test: whether a provider can be reached and accepts its credentials."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from providers.apps import vault
from providers.models import Provider
from providers.trial import try_provider


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
        state = "" if provider.enabled else " (disabled)"
        self.stdout.write(f"{provider.name} at {provider.address}{state}")
        trials = try_provider(provider, vault())
        for trial in trials:
            self.stdout.write(f"  {'ok' if trial.verdict.ok else 'FAILED'}  {trial.words}")
        if not all(trial.verdict.ok for trial in trials):
            raise CommandError(f"{provider.name} cannot be used as it is.")
