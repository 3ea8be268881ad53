"""manage.py serve: set everything up and serve. What `make run` and the container call."""

from __future__ import annotations

import socket
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from functools import partial
from importlib import import_module
from typing import Any

from django.conf import settings  # noqa: TID251 - a command is where settings come in
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.utils import DatabaseError

from gateway_project.apart import EndedError, apart
from gateway_project.beginnings import DatabaseUnavailableError, Outcome
from gateway_project.config import Config
from gateway_project.server import ListenError, bind, run
from gateway_project.sheet import first_sheet, later_line
from gateway_project.workers import Workers, end_with_parent, tell_parent, worker_command
from routing.configfile import ConfigError


class Command(BaseCommand):
    """Migrates, seeds, prints how to begin, and serves until told to end."""

    help = "Set up the database and serve the gateway."
    # `prepare` migrates, so there may be nothing to check before it.
    requires_migrations_checks = False
    # Made with the rest of the setting up, and not by each worker once more.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--worker",
            type=int,
            metavar="FD",
            help="be one of several processes, whose parent has set things up and listens here",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        config: Config = settings.GATEWAY
        try:
            if options["worker"] is not None:
                end_with_parent()
                run(config, socket.socket(fileno=options["worker"]), tell_parent)
            else:
                self._serve(config)
        except (DatabaseUnavailableError, ListenError) as error:
            raise CommandError(str(error)) from None
        except EndedError as error:
            raise CommandError(f"the gateway could not be set up: {error}") from None
        except ConfigError as error:
            raise CommandError("\n".join(["config.yaml cannot be applied:", *error.problems])) from None

    def _serve(self, config: Config) -> None:
        # First, so that a port in use is told before anything is set up.
        listener = bind(config, shared=config.workers > 1)
        self._prepare(config, listener)
        if config.workers == 1:
            run(config, listener)
            return
        listener.close()
        status = Workers(config, worker_command(), _say).run()
        if status:
            sys.exit(status)

    def _prepare(self, config: Config, listener: socket.socket) -> None:
        if sys.platform == "linux":
            # The checks, the migrations and what seeds load all of the admin and more.
            made = apart(partial(self._set_up, config), partial(_begin_apart, listener))
        else:
            # Elsewhere a fork may not use all of the system's libraries.
            made = self._set_up(config)
        if made["away"] is None:
            self._ready(config, Outcome(**made["outcome"]))
            return
        known = config.last_good.exists()
        # Known keys go on working, or /ready says that nobody is served yet. Nobody has to start us anew.
        meanwhile = "the last configuration that was read serves" if known else "not ready"
        self.stderr.write(f"{made['away'].capitalize()} Until it answers: {meanwhile}.")
        # Loaded only now: it sets up in this process.
        later = import_module("gateway_project.later")
        later.Later(config, partial(self._ready, config)).start()

    def _set_up(self, config: Config) -> dict[str, Any]:
        """The outcome, and why the database cannot be set up yet."""
        self.check()
        # Loaded only here: see `_prepare`.
        first_run = import_module("gateway_project.first_run")
        try:
            outcome: Outcome = first_run.prepare(config, self.stderr.write)
        except DatabaseUnavailableError as error:
            if connection.vendor == "sqlite":
                # A file does not come up later.
                raise
            return {"outcome": None, "away": str(error)}
        except DatabaseError as error:
            raise CommandError(f"the database cannot be set up: {type(error).__name__}") from error
        # A child that has succeeded is not there for what is done at exit.
        settings.LOG_SINK.drain()
        return {"outcome": asdict(outcome), "away": None}

    def _ready(self, config: Config, outcome: Outcome) -> None:
        self.stdout.write(first_sheet(config, outcome) if outcome.first else later_line(config))
        self.stdout.flush()


def _begin_apart(listener: socket.socket) -> None:
    """In the child that sets up: leave the address and the log's thread to the parent."""
    listener.close()
    settings.LOG_SINK.forked()


def _say(text: str) -> None:
    """A word of the parent of workers, who must not wait for a reader of it."""
    settings.LOG_SINK.write(text + "\n")
