"""manage.py config apply|export|import|restore|undo: the tables as one declarative document, now and once."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts.apps import hasher
from providers.apps import vault
from routing.command_approval import staff, told_where_kept
from routing.configfile import ConfigError, load_yaml, parse
from routing.configfile_apply import Means, Outcome, apply
from routing.configfile_export import export, to_yaml
from routing.draft_ways import gathered
from routing.drafts import DraftError, touch
from routing.freeze import FrozenError
from routing.history import UnknownRevisionError
from routing.impact_words import sections
from routing.imports.formats import FORMATS, IMPORTED, import_file
from routing.imports.reading import MAX_BYTES
from routing.overwritten import APPLIED, overwritten
from routing.past import rows_at
from routing.rehearsal import Preview, preview, rehearsed
from routing.revisions import describe
from routing.rewind import Outcome as Rewound
from routing.rewind import RewindError, restore, undo


@dataclass(frozen=True, slots=True)
class Ways:
    """How a change is made: for a look alone, with what it would do to requests, told as JSON; and in whose
    name."""

    dry: bool
    impact: bool
    json: bool
    user: User | None = None

    @property
    def author(self) -> str:
        """Whose change it is."""
        return "command line" if self.user is None else self.user.get_username()


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
            "--draft",
            metavar="NAME",
            help="into the draft of this name; nothing is published",
        )
        applying.add_argument(
            "--overwrite",
            action="store_true",
            help="also where it takes back what somebody has edited since, which is refused otherwise",
        )
        applying.add_argument(
            "--yes", action="store_true", help="do not ask; on a terminal the changes are shown first"
        )
        _add_dry_run(applying)
        _add_as(applying)
        exporting = actions.add_parser(
            "export", help="write the configuration without secrets to standard output"
        )
        exporting.add_argument("--revision", type=int, metavar="N", help="as it was at this revision")
        _add_import(
            actions.add_parser(
                "import",
                help="turn another gateway's configuration into a file for apply; nothing is applied",
            )
        )
        for name, words in (
            ("restore", "bring everything to how it was at revision N"),
            ("undo", "take back what revision N changed"),
        ):
            rewinding = actions.add_parser(name, help=words)
            rewinding.add_argument("number", type=int, metavar="N")
            _add_dry_run(rewinding)
            _add_as(rewinding)

    def handle(self, *args: Any, **options: Any) -> None:
        action = options["action"]
        if action == "export":
            self._export(options["revision"])
            return
        if action == "import":
            self._import(options)
            return
        ways = Ways(options["dry_run"], options["impact"], options["json"], staff(options["as"]))
        if ways.impact and not ways.dry:
            raise CommandError("--impact goes with --dry-run: it is looked at before anything changes.")
        if action == "apply" and options["draft"]:
            self._draft(options["draft"], self._applying(options["file"], ways.author), ways)
        elif action == "apply":
            self._apply(options, ways)
        else:
            how = restore if action == "restore" else undo
            # Whoever runs commands runs the machine, and its network.
            self._change(partial(how, options["number"], ways.author, private=True), ways)

    def _export(self, number: int | None) -> None:
        try:
            document = export(None if number is None else rows_at(number))
        except UnknownRevisionError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(to_yaml(document), ending="")

    def _import(self, options: dict[str, Any]) -> None:
        name, path, secrets = options["file"], options["output"], options["include_secrets"]
        if secrets and not path:
            raise CommandError("--include-secrets needs --output: secrets are never written to a terminal")
        with _told_of(name, "imported"):
            draft = import_file(options["format"], _read_bytes(name), take_secrets=secrets)
        for line in draft.report.lines():
            self.stderr.write(line)
        text = to_yaml(draft.document(), IMPORTED)
        if path:
            _write_private(Path(path), text, force=options["force"])
            self.stderr.write(f"Written to {path}; nothing is applied. Next: config apply --dry-run {path}")
        else:
            self.stdout.write(text, ending="")

    def _apply(self, options: dict[str, Any], ways: Ways) -> None:
        change = self._applying(options["file"], ways.author)
        asks = not (ways.dry or ways.json or options["yes"] or options["file"] == "-")
        if asks and sys.stdin.isatty():
            self._change(_telling(change), Ways(dry=True, impact=False, json=False))
            if input("Apply? [y/N] ").strip().lower() not in ("y", "yes"):
                raise CommandError("Nothing was changed.")
        self._change(_telling(change) if ways.dry or options["overwrite"] else _sparing(change), ways)

    def _change(self, change: Callable[[], Outcome | Rewound], ways: Ways) -> None:
        try:
            with told_where_kept(ways.user), rehearsed() if ways.dry else nullcontext() as rehearsal:
                outcome = change()
        except (FrozenError, RewindError, UnknownRevisionError) as error:
            raise CommandError(str(error)) from None
        seen = preview(rehearsal) if rehearsal is not None and ways.impact else None
        if ways.json:
            self._report_json(outcome, seen, dry=ways.dry)
        else:
            self._report(outcome, seen, dry=ways.dry)

    def _draft(self, title: str, change: Callable[[], Outcome], ways: Ways) -> None:
        if ways.dry:
            raise CommandError("--draft changes nothing that is in force: it goes without --dry-run.")
        try:
            with transaction.atomic():
                draft, outcome = gathered(title, ways.author, change)
                if ways.user is not None:
                    touch(draft, ways.user.pk)
        except DraftError as error:
            raise CommandError(str(error)) from None
        except ValidationError as error:
            raise CommandError("\n".join(error.messages)) from None
        if ways.json:
            self._report_json(outcome, None, dry=True)
            return
        for each in outcome.changes:
            self.stdout.write(describe(each))
        self.stdout.write(f"{len(outcome.changes)} changes, in the draft {draft}; nothing is published.")

    def _applying(self, name: str, author: str) -> Callable[[], Outcome]:
        means = Means(vault=vault(), hasher=hasher(), environ=os.environ)

        label = "standard input" if name == "-" else Path(name).name
        with _told_of(name):
            document = parse(load_yaml(_read(name)))

        def change() -> Outcome:
            with _told_of(name):
                return apply(document, means, author=author, reason=f"{APPLIED}{label}")

        return change

    def _report_json(self, outcome: Outcome | Rewound, seen: Preview | None, *, dry: bool) -> None:
        said = {
            "changes": outcome.changes,
            "notes": outcome.notes,
            # What a rehearsal published is gone.
            "revision": None if dry else outcome.revision,
        }
        if seen is not None:
            said["preview"] = seen
        self.stdout.write(msgspec.json.encode(said).decode())

    def _report(self, outcome: Outcome | Rewound, seen: Preview | None, *, dry: bool) -> None:
        for change in outcome.changes:
            self.stdout.write(describe(change))
        for note in outcome.notes:
            self.stderr.write(note)
        for section in sections(seen) if seen is not None else ():
            self.stdout.write(f"\n{section.title}")
            self.stdout.writelines(f"  {line}\n" for line in section.lines)
        if not outcome.changes:
            self.stdout.write("No changes.")
        elif dry:
            self.stdout.write(f"{len(outcome.changes)} changes; nothing was written (--dry-run).")
        else:
            self.stdout.write(f"{len(outcome.changes)} changes, published as revision {outcome.revision}.")


def _sparing(change: Callable[[], Outcome]) -> Callable[[], Outcome]:
    """Applies where nothing that somebody has edited by hand is written over."""

    def spared() -> Outcome:
        with transaction.atomic():
            outcome = change()
            lost = overwritten(outcome.revision) if outcome.revision is not None else []
            if lost:
                hint = "Take it into the file, or say --overwrite. Nothing was changed."
                raise CommandError("\n".join(["It would write over what was edited:", *lost, hint]))
        return outcome

    return spared


def _telling(change: Callable[[], Outcome]) -> Callable[[], Outcome]:
    """Applies, and notes what it writes over."""

    def told() -> Outcome:
        outcome = change()
        lost = overwritten(outcome.revision) if outcome.revision is not None else []
        return replace(outcome, notes=[*outcome.notes, *(f"Writes over an edit: {line}" for line in lost)])

    return told


@contextmanager
def _told_of(name: str, done: str = "applied") -> Iterator[None]:
    """A document's problems are told with its name."""
    try:
        yield
    except ConfigError as error:
        raise CommandError("\n".join([f"{name} cannot be {done}:", *error.problems])) from None


def _add_import(parser: ArgumentParser) -> None:
    parser.add_argument("format", choices=FORMATS, help="whose configuration FILE is")
    parser.add_argument("file", metavar="FILE", help="LiteLLM's config.yaml, channels as JSON, or -")
    parser.add_argument("--output", metavar="PATH", help="write there and not to standard output")
    parser.add_argument(
        "--include-secrets",
        action="store_true",
        help="write the keys that FILE holds into PATH, instead of naming a variable for each",
    )
    parser.add_argument("--force", action="store_true", help="write over PATH where it exists")


def _add_dry_run(parser: ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    parser.add_argument(
        "--impact",
        action="store_true",
        help="with --dry-run: what it would have changed for the newest requests of the ledger",
    )
    parser.add_argument("--json", action="store_true", help="the same for programs")


def _add_as(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--as", metavar="USER", help="in this user's name, who then cannot approve it himself"
    )


def _read_bytes(name: str) -> bytes:
    """A file's first bytes: one more than may be read at most."""
    try:
        if name == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with Path(name).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CommandError(f"{name} cannot be read: {error.strerror}") from None


def _write_private(path: Path, text: str, *, force: bool) -> None:
    """Write a file that its owner alone may read."""
    try:
        if force:
            path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CommandError(f"{path} exists; --force writes over it") from None
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from None


def _read(name: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{name} is not UTF-8 text") from None
