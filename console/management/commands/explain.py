"""manage.py explain: where a request would go, and why."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError

from accounts.ledger.charge import dollars
from console.apps import running
from console.asking import SURFACES, Asked, AskingError, answered
from pipeline.explanation import Allowance, Explanation, TargetSaid
from providers.apps import vault


class Command(BaseCommand):
    """Explains a request without making it."""

    help = "Say where a request would go, and why: key, limits, targets, losses, cost. Nothing is sent."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--model", default="", help="the model that the client asks for")
        parser.add_argument("--key", default="", help="a gateway key's prefix or id  (the common routes)")
        parser.add_argument("--surface", default="", help=f"{', '.join(SURFACES)}  (chat)")
        parser.add_argument("--body", metavar="FILE", help="a body as a client sends it, or - for input")
        parser.add_argument("--request", default="", metavar="ID", help="a request of the ledger")
        parser.add_argument(
            "--revision", default="", metavar="N|now", help="by that configuration  (the request's, else now)"
        )
        parser.add_argument("--draft", default="", metavar="NAME", help="by what this draft would publish")
        parser.add_argument("--json", action="store_true", help="the same for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        asked = Asked(
            key=options["key"],
            model=options["model"],
            surface=options["surface"],
            request=options["request"],
            revision=options["revision"],
            draft=options["draft"],
            body=_read(options["body"]),
        )
        try:
            said = answered(asked, vault(), running())
        except AskingError as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(msgspec.json.encode(said).decode())
        else:
            self.stdout.write("\n".join(_lines(said)))


def _read(name: str | None) -> bytes:
    if name is None:
        return b""
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise CommandError(f"{name} cannot be read: {error.strerror}") from None


def _lines(said: Explanation) -> Iterator[str]:
    yield said.outcome
    yield from said.notes
    needs = f", needs {', '.join(said.needs)}" if said.needs else ""
    yield (
        f"{said.model} over {said.surface}, about {said.input_tokens} tokens in and {said.output_tokens} out "
        f"at most{needs}; revision {said.revision}"
    )
    if said.key is not None:
        key = said.key
        may = "may" if key.allowed else "may not"
        models = ", ".join(key.allowed_models) or "every model"
        yield f"key {key.prefix} of {key.team}: {may} use it ({models}){', expired' if key.expired else ''}"
    for limit in said.limits:
        yield f"  {_allowance(limit)}"
    if said.route is not None:
        route = said.route
        yield (
            f"route {route.name} ({route.pattern}): balance {route.balance}, affinity {route.affinity}, "
            f"losses {route.losses}"
        )
    if said.cache is not None:
        yield f"cache: {said.cache.state}, {said.cache.why}"
    for target in said.targets:
        yield f"  {_target(target)}"


def _allowance(said: Allowance) -> str:
    def words(amount: int | None) -> str:
        if amount is None:
            return "unknown"
        return dollars(amount) if said.unit == "nano-dollars" else f"{amount} {said.unit}"

    fits = {None: "", True: ", fits", False: ", no room"}[said.fits]
    return f"{said.what} of {said.whose}: {words(said.amount)}, left {words(said.left)}{fits}"


def _target(said: TargetSaid) -> str:
    parts = [f"{said.provider}/{said.model}: {said.state}"]
    parts += [f"{said.first:.0%} first"] if said.state == "candidate" else []
    parts += [f"tier {said.tier}, weight {said.weight}"]
    parts += [said.reason] if said.reason else []
    parts += [f"asked although {said.lacking}"] if said.lacking else []
    parts += [f"provider's {_allowance(limit)}" for limit in said.limits]
    parts += [f"in {said.spoken}"] if said.spoken else []
    if said.refuses:
        parts.append(f"refuses: {said.refuses}")
    elif said.dropped:
        parts.append(f"loses {', '.join(said.dropped)}")
    return "; ".join([*parts, f"cost at most {dollars(said.cost)}"])
