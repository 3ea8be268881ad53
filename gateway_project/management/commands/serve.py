"""manage.py serve: set everything up and serve. What `make run` and the container call."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings  # noqa: TID251 - a command is where settings come in
from django.core.management.base import BaseCommand, CommandError
from django.db.utils import DatabaseError

from gateway_project.config import Config
from gateway_project.first_run import DatabaseUnavailableError, prepare
from gateway_project.server import ListenError, bind, run
from gateway_project.sheet import first_sheet, later_line
from gateway_project.workers import Workers, end_with_parent, tell_parent, worker_command
from routing.configfile import ConfigError


class Command(BaseCommand):
    """Migrates, seeds, prints how to begin, and serves until told to end."""

    help = "Set up the database and serve the gateway."
    # `prepare` migrates, so there may be nothing to check before it.
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--worker",
            action="store_true",
            help="be one of several processes, whose parent has set things up",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        config: Config = settings.GATEWAY
        try:
            if options["worker"]:
                end_with_parent()
                run(config, bind(config, shared=True), tell_parent)
            else:
                self._serve(config)
        except (DatabaseUnavailableError, ListenError) as error:
            raise CommandError(str(error)) from None
        except ConfigError as error:
            raise CommandError("\n".join(["config.yaml cannot be applied:", *error.problems])) from None

    def _serve(self, config: Config) -> None:
        # First, so that a port in use is told before anything is set up.
        listener = bind(config, shared=config.workers > 1)
        self._prepare(config)
        if config.workers == 1:
            run(config, listener)
            return
        listener.close()
        status = Workers(config, worker_command(), self.stderr.write).run()
        if status:
            sys.exit(status)

    def _prepare(self, config: Config) -> None:
        try:
            outcome = prepare(config, self.stderr.write)
        except DatabaseUnavailableError:
            if not config.last_good.exists():
                raise
            # Known keys go on working; the tables are brought up to date by the next start that reaches them.
            self.stderr.write(
                "The database does not answer: serving by the last configuration that was read."
            )
        except DatabaseError as error:
            raise CommandError(f"the database cannot be set up: {type(error).__name__}") from error
        else:
            self.stdout.write(first_sheet(config, outcome) if outcome.first else later_line(config))
        self.stdout.flush()
