"""manage.py rehearse: what the gateway does when a provider fails, without a failure and without traffic."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError

from console.asking import AskingError, configured
from console.drill import FAULTS, DrillError, Plan, Report, drill
from providers.apps import vault


class Command(BaseCommand):
    """Holds a drill against stand-ins."""

    help = "Say who would serve a model when a provider fails, and what its breaker does. Nothing is sent."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--model", required=True, help="the model that clients ask for")
        parser.add_argument("--provider", required=True, help="who fails")
        parser.add_argument("--fault", required=True, choices=FAULTS)
        parser.add_argument("--key", default="", help="a gateway key's prefix or id  (the common routes)")
        parser.add_argument("--calls", type=int, default=20, help="how many requests (20)")
        parser.add_argument("--apart", type=float, default=1.0, help="seconds between two of them (1)")
        parser.add_argument("--json", action="store_true", help="the same for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            snapshot, key = configured(options["key"], vault())
            plan = Plan(
                options["model"],
                options["provider"],
                options["fault"],
                options["calls"],
                options["apart"],
                key,
            )
            report = asyncio.run(drill(snapshot, plan))
        except (AskingError, DrillError) as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(msgspec.json.encode(report).decode())
        else:
            self.stdout.write("\n".join(_lines(report, plan)))


def _lines(report: Report, plan: Plan) -> Iterator[str]:
    yield f"{plan.provider}: {FAULTS[plan.fault]}. Route {report.route or 'none'}."
    for call in report.calls:
        outcome = f"served by {call.served}" if call.served else f"failed with {call.error}"
        asked = ", ".join(call.asked) or "nobody was asked"
        yield f"{call.at:8.1f} s  {outcome} in {call.seconds:g} s  ({asked})"
    for each in report.breakers:
        yield f"{each.at:8.1f} s  breaker of {each.target}: {each.state}"
    each_of = ", ".join(f"{target} {count}" for target, count in report.served.items()) or "nobody"
    yield f"{sum(report.served.values())} of {len(report.calls)} served ({each_of}), {report.failed} failed"
