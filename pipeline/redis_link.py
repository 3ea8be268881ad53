"""The way to Redis: scripts in batches, a bound on each, and a judgement whether it is there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

from pipeline.patience import patience
from pipeline.redis_client import FAULTS, Client, connect, renew
from pipeline.redis_scripts import Script

logger = logging.getLogger(__name__)

# A call waits no longer for a decision. In one data centre Redis answers in a fiftieth of it.
SECONDS = 0.05
# Nobody waits while a connection is made again; with TLS that takes several round trips.
CONNECT_SECONDS = 1.0
# One may be an accident, and a retry by the next call is free of it; after five Redis is away.
FAILURES = 5
# One for decisions and one for all else, and a second of each while one is being closed.
_CONNECTIONS = 4
# What Redis says where a server's operators have taken a command away.
_NO_COMMAND = ("unknown command", "NOPERM")


@dataclass(frozen=True, slots=True)
class Step:
    """A script to run, with its keys and arguments."""

    script: Script
    keys: Sequence[str]
    arguments: Sequence[str | int]


class RedisLink:
    """Runs steps. None of its methods raises because of Redis; `changed` is called when `up` has changed.

    A connection on which something failed or took too long is closed by the library, so that an answer that
    comes too late is not taken for that of another question.
    """

    def __init__(self, url: str, changed: Callable[[], None]) -> None:
        # `patience` ends a wait; the library's own clock runs on while this process has no time to read.
        self._client: Client = connect(url, _CONNECTIONS, 5 * CONNECT_SECONDS)
        self._changed = changed
        self._failures = 0
        self._by_name = True
        # Until the first answer nobody knows.
        self.up = False

    async def run(self, steps: Sequence[Step], seconds: float | None = None) -> list[Any] | None:
        """The answers, in one round trip; None where Redis failed, and whatever it did is then unknown."""
        try:
            async with patience(SECONDS if seconds is None else seconds):
                if not self.up:
                    await renew(self._client)
                answers = await self._send(steps)
        except FAULTS as error:
            self._failed(error)
            return None
        self._failures = 0
        if not self.up:
            self.up = True
            self._changed()
        return answers

    async def teach(self, scripts: Sequence[Script]) -> None:
        """Make the scripts known before they are needed, so that the steps of a batch run in their order from
        the first on."""
        try:
            async with patience(CONNECT_SECONDS):
                for script in scripts:
                    await self._client.script_load(script.text)
        except (NoPermissionError, ResponseError):
            self._by_name = False
        except FAULTS as error:
            self._failed(error)

    async def once(self, key: str, value: str | int, seconds: float | None) -> bool | None:
        """Set a key that nobody has set; True: this call did. None: Redis failed."""
        ends = None if seconds is None else max(1, int(seconds * 1000))
        try:
            async with patience(SECONDS):
                made = await self._client.set(key, value, nx=True, px=ends)
        except FAULTS as error:
            self._failed(error)
            return None
        return bool(made)

    async def policy(self) -> str | None:
        """What Redis does when its memory is full; None: it does not say."""
        try:
            async with patience(CONNECT_SECONDS):
                found = await self._client.info("memory")
        except FAULTS:
            return None
        said = found.get("maxmemory_policy")
        return str(said) if said else None

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _send(self, steps: Sequence[Step]) -> list[Any]:
        """Raises what Redis raises, the answer to any of the steps too."""
        answers = await self._batch(steps, by_name=self._by_name)
        unknown = [place for place, answer in enumerate(answers) if self._is_unknown(answer)]
        if unknown:
            # Redis was started again, or never saw it: the text itself makes it known.
            again = await self._batch([steps[place] for place in unknown], by_name=False)
            for place, answer in zip(unknown, again, strict=True):
                answers[place] = answer
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    async def _batch(self, steps: Sequence[Step], *, by_name: bool) -> list[Any]:
        pipe = self._client.pipeline(transaction=False)
        for step in steps:
            script = step.script
            what = ("EVALSHA", script.sha) if by_name else ("EVAL", script.text)
            pipe.execute_command(*what, len(step.keys), *step.keys, *step.arguments)
        answers: list[Any] = await pipe.execute(raise_on_error=False)
        return answers

    def _is_unknown(self, answer: object) -> bool:
        if isinstance(answer, NoScriptError):
            return True
        refused = isinstance(answer, NoPermissionError) or (
            isinstance(answer, ResponseError) and str(answer).startswith(_NO_COMMAND)
        )
        if refused and self._by_name:
            self._by_name = False
            return True
        return False

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if self.up and self._failures >= FAILURES:
            self.up = False
            # The type alone: a driver's text may name hosts and users.
            logger.error("redis is away, limits are counted here: %s", type(error).__name__)
            self._changed()
