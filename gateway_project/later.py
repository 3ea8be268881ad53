"""Sets the database up when it comes late: the gateway listens meanwhile, and says that it is not ready."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog
from django.db.utils import DatabaseError

from gateway_project.beginnings import DatabaseUnavailableError, Outcome
from gateway_project.config import Config
from gateway_project.first_run import prepare
from routing.configfile import ConfigError

# What was wrong with the configuration or the tables may be put right by somebody else.
_WRONG_SECONDS = 30.0
_AWAY_SECONDS = 1.0


class Later:
    """A thread that tries until it succeeds, and then tells `done` the outcome."""

    def __init__(self, config: Config, done: Callable[[Outcome], None]) -> None:
        self._config = config
        self._done = done
        self._log = structlog.get_logger("gateway")
        self._said = ""

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, name="set-up", daemon=True).start()

    def _run(self) -> None:
        while not self._try():
            pass

    def _try(self) -> bool:
        wait = threading.Event().wait
        try:
            outcome = prepare(self._config, lambda _: None)
        except DatabaseUnavailableError:
            wait(_AWAY_SECONDS)
            return False
        except ConfigError as error:
            self._say("config.yaml cannot be applied", problems=list(error.problems))
        except DatabaseError as error:
            # The driver's words may quote values.
            self._say("the database cannot be set up", error=type(error).__name__)
        else:
            self._done(outcome)
            return True
        wait(_WRONG_SECONDS)
        return False

    def _say(self, event: str, **fields: object) -> None:
        """Once for each thing that is wrong."""
        said = f"{event} {fields}"
        if said != self._said:
            self._said = said
            self._log.error(event, **fields)
