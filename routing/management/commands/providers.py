"""manage.py providers add|presets|rotate-secrets|test: providers from the command line.

It lives here and not with the providers, because adding one publishes a revision.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts.apps import hasher
from accounts.models import Capture
from providers.apps import vault
from providers.crypto import VaultError
from providers.kinds import KINDS
from providers.models import Credential, Provider
from providers.presets import CUSTOM, PRESETS, Preset
from providers.trial import try_provider
from routing.approval_gate import Leave
from routing.command_approval import told_where_kept
from routing.configfile import ConfigError, parse
from routing.configfile_apply import Means, apply
from routing.draft_secrets import seal_drafts_anew
from routing.freeze import FrozenError
from routing.history import mark
from routing.models import Route
from routing.revisions import Change, describe, hold, publish


class Command(BaseCommand):
    """Adds a provider from a preset, lists the presets, tests a provider with each of its enabled
    credentials. Exit status 1 when one cannot be used."""

    help = "Add a provider from a preset, list the presets, seal credentials anew, or test a provider."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("presets", help="list the services that `add` knows")
        adding = actions.add_parser("add", help="add a provider, its key and its routes, as one revision")
        adding.add_argument("preset", metavar="PRESET", help="as `providers presets` lists it")
        adding.add_argument("--name", help="its name in routes and logs; the preset's, if left out")
        adding.add_argument("--base-url", help="where it is, if that is not what the preset says")
        adding.add_argument(
            "--key-env", metavar="VARIABLE", help="the environment variable that holds its key"
        )
        adding.add_argument(
            "--allow-private", action="store_true", help="its address is on the private network"
        )
        adding.add_argument(
            "--route",
            action="append",
            default=[],
            metavar="PATTERN[=MODEL]",
            help="send these models to it, by the name MODEL if it calls them otherwise; may be repeated",
        )
        actions.add_parser(
            "rotate-secrets", help="seal every stored credential anew, after the secret key was rotated"
        )
        testing = actions.add_parser("test", help="ask a path of the provider that costs nothing")
        testing.add_argument("name", metavar="NAME", help="the provider's name")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "presets":
            self._presets()
        elif options["action"] == "add":
            self._add(options)
        elif options["action"] == "rotate-secrets":
            self._rotate()
        else:
            self._test(options["name"])

    def _presets(self) -> None:
        width = max(map(len, PRESETS))
        for preset in PRESETS.values():
            address = preset.base_url or KINDS[preset.kind].base_url or "--base-url URL"
            self.stdout.write(f"{preset.name.ljust(width)}  {preset.label}: {address}")
            hints = [f"key: {preset.key_page}" if preset.key_page else "", preset.note]
            for hint in filter(None, hints):
                self.stdout.write(f"{' ' * width}    {hint}")

    def _add(self, options: dict[str, Any]) -> None:
        preset = PRESETS.get(options["preset"])
        if preset is None:
            raise CommandError(f"No preset has this name. There are: {', '.join(PRESETS)}")
        name = options["name"] or preset.name
        if name == CUSTOM:
            raise CommandError("Give it a name of its own: --name NAME")
        if Provider.objects.filter(name=name).exists():
            raise CommandError(f"A provider named {name} exists already; give this one another: --name NAME")
        routes = [_route(entry, name) for entry in options["route"]]
        document = {"providers": {name: _provider(preset, options)}, "routes": routes}
        means = Means(vault=vault(), hasher=hasher(), environ=os.environ)
        try:
            with told_where_kept():
                outcome = apply(
                    parse(document), means, author="command line", reason=f"provider {name} added"
                )
        except FrozenError as error:
            raise CommandError(str(error)) from None
        except ConfigError as error:
            raise CommandError("\n".join([f"{name} cannot be added:", *error.problems])) from None
        for change in outcome.changes:
            self.stdout.write(describe(change))
        self.stdout.write(f"Published as revision {outcome.revision}. Now: manage.py providers test {name}")
        if not routes:
            self.stderr.write("No route leads to it yet: add one in the admin, or here with --route.")

    def _rotate(self) -> None:
        """Each row by itself where it can be opened, so that one that cannot keeps none back."""
        unreadable = self._rotate_captures()
        with transaction.atomic():
            hold()
            changes: list[Change] = []
            moved: dict[str, str] = {}
            rows = Credential.objects.select_related("provider").order_by("id")
            for row in rows:
                try:
                    sealed = vault().reseal(row.sealed, row.provider_id)
                except VaultError:
                    unreadable.append(f"{row.provider}: {row}")
                    continue
                if sealed != row.sealed:
                    moved[mark(row.sealed)] = mark(sealed)
                    row.sealed = sealed
                    row.save(update_fields=["sealed"])
                    name = f"credential {row} of {row.provider}"
                    changes.append({"object": name, "action": "sealed anew", "fields": {}})
            drafted, lost = seal_drafts_anew(vault().reseal, moved)
            unreadable += lost
            number = (
                publish("command line", "credentials sealed anew", changes, edit=False, leave=Leave())
                if changes
                else None
            )
        if drafted:
            self.stdout.write(f"Drafts: {drafted} sealed anew.")
        self.stdout.write(
            f"{len(changes)} sealed anew"
            + (f", published as revision {number}." if number else ": all of them are under the current key.")
        )
        if unreadable:
            raise CommandError(
                "\n".join(["No configured key opens these; enter their secrets again:", *unreadable])
            )

    def _rotate_captures(self) -> list[str]:
        """What teams have captured. What cannot be opened, in words."""
        done = lost = 0
        for row in Capture.objects.order_by("pk").iterator(chunk_size=50):
            try:
                sealed = vault().reseal(row.sealed, row.owner)
            except VaultError:
                lost += 1
                continue
            if sealed != row.sealed:
                # None if it is forgotten meanwhile.
                done += Capture.objects.filter(pk=row.pk).update(sealed=sealed)
        if done:
            self.stdout.write(f"Captures: {done} re-encrypted.")
        return [f"{lost} captured prompts, which their teams may forget"] if lost else []

    def _test(self, name: str) -> None:
        provider = Provider.objects.filter(name=name).first()
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


def _provider(preset: Preset, options: dict[str, Any]) -> dict[str, Any]:
    """The provider as config.yaml would say it. Raises CommandError where what it needs is not given."""
    found: dict[str, Any] = {"preset": preset.name}
    if options["base_url"]:
        found["base_url"] = options["base_url"]
    elif not preset.complete:
        example = f", such as {preset.base_url}" if preset.base_url else ""
        raise CommandError(f"Say where it is: --base-url URL{example}")
    if options["allow_private"]:
        found["allow_private_addresses"] = True
    if options["key_env"]:
        found["api_key"] = f"env:{options['key_env']}"
    elif preset.key_env and os.environ.get(preset.key_env):
        found["api_key"] = f"env:{preset.key_env}"
    elif preset.key_env:
        raise CommandError(
            f"It needs a key, made at {preset.key_page}: put it into {preset.key_env}, or name another "
            "variable with --key-env."
        )
    return found


def _route(entry: str, provider: str) -> dict[str, Any]:
    """A new common route from `PATTERN` or `PATTERN=MODEL`. Raises CommandError where there is one."""
    pattern, _, model = entry.partition("=")
    if Route.objects.filter(pattern=pattern, team=None).exists():
        raise CommandError(f"A route for {pattern} exists already; add the provider to its targets.")
    return {"pattern": pattern, "targets": [{"provider": provider, "model": model}]}
