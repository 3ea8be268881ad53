"""manage.py config apply|export|restore|undo: the tables as one declarative document, now and once."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts.apps import hasher
from providers.apps import vault
from routing.configfile import ConfigError, load_yaml, parse
from routing.configfile_apply import Means, Outcome, apply, dry_run
from routing.configfile_export import export, to_yaml
from routing.history import UnknownRevisionError
from routing.revisions import describe
from routing.rewind import Outcome as Rewound
from routing.rewind import RewindError, as_of, restore, undo


class Command(BaseCommand):
    """Applies a document, or writes one. An application is one transaction and one revision, touches only
    what the document names, and does nothing the second time."""

    help = "Apply a configuration file to the database, or export the database as one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        applying = actions.add_parser(
            "apply", help="bring the database to what FILE names, and touch nothing else"
        )
        applying.add_argument("file", metavar="FILE", help="a YAML file, or - for standard input")
        applying.add_argument(
            "--dry-run", action="store_true", help="say what would change, and change nothing"
        )
        exporting = actions.add_parser(
            "export", help="write the configuration without secrets to standard output"
        )
        exporting.add_argument("--revision", type=int, metavar="N", help="as it was at this revision")
        for name, words in (
            ("restore", "bring everything to how it was at revision N"),
            ("undo", "take back what revision N changed"),
        ):
            rewinding = actions.add_parser(name, help=words)
            rewinding.add_argument("number", type=int, metavar="N")
            rewinding.add_argument(
                "--dry-run", action="store_true", help="say what would change, and change nothing"
            )

    def handle(self, *args: Any, **options: Any) -> None:
        action = options["action"]
        if action == "export":
            self._export(options["revision"])
        elif action == "apply":
            self._apply(options["file"], dry=options["dry_run"])
        else:
            self._rewind(restore if action == "restore" else undo, options["number"], dry=options["dry_run"])

    def _export(self, number: int | None) -> None:
        try:
            with nullcontext() if number is None else as_of(number):
                document = export()
        except (RewindError, UnknownRevisionError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(to_yaml(document), ending="")

    def _rewind(self, how: Callable[[int, str], Rewound], number: int, *, dry: bool) -> None:
        try:
            with transaction.atomic():
                outcome = how(number, "command line")
                transaction.set_rollback(dry)
        except (RewindError, UnknownRevisionError) as error:
            raise CommandError(str(error)) from None
        self._report(outcome, dry=dry)

    def _apply(self, name: str, *, dry: bool) -> None:
        means = Means(vault=vault(), hasher=hasher(), environ=os.environ)
        try:
            document = parse(load_yaml(_read(name)))
            if dry:
                outcome = dry_run(document, means)
            else:
                label = "standard input" if name == "-" else Path(name).name
                outcome = apply(document, means, author="command line", reason=f"config apply {label}")
        except ConfigError as error:
            raise CommandError("\n".join([f"{name} cannot be applied:", *error.problems])) from None
        self._report(outcome, dry=dry)

    def _report(self, outcome: Outcome | Rewound, *, dry: bool) -> None:
        for change in outcome.changes:
            self.stdout.write(describe(change))
        for note in outcome.notes:
            self.stderr.write(note)
        if not outcome.changes:
            self.stdout.write("No changes.")
        elif dry:
            self.stdout.write(f"{len(outcome.changes)} changes; nothing was written (--dry-run).")
        else:
            self.stdout.write(f"{len(outcome.changes)} changes, published as revision {outcome.revision}.")


def _read(name: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{name} is not UTF-8 text") from None
