"""Tells by webhook and log that half, four fifths, and all of a budget are spent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

import orjson

from pipeline.limit_metrics import LimitMetrics
from pipeline.reservation import Began
from providers.wire import Transport, UpstreamError, UpstreamRequest
from routing.allowances import NANO

logger = logging.getLogger(__name__)

THRESHOLDS = (50, 80, 100)
# Whoever listens may be starting again: seconds before each further try.
PAUSES = (1.0, 10.0)
# A listener only has to take note.
_SECONDS = 10.0
# A total budget's notices are remembered as long as anybody would look for them.
_REMEMBERED = 400 * 86_400.0
# Counters of this many periods are known at once; far more than budgets with traffic.
_MAX_KNOWN = 50_000

# True for the first who asks, of all replicas.
First = Callable[[str, float], Awaitable[bool]]


class Notices:
    """Hears how budgets stand and tells of each threshold once in a period, of all replicas together.

    Webhooks go out in tasks of their own, by the transport and under the rules that providers have: never to
    a private address.
    """

    def __init__(
        self,
        transport: Transport,
        metrics: LimitMetrics,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._transport = transport
        self._metrics = metrics
        self._pause = pause
        self._first: First | None = None
        # Key of a counter to what it counts and the highest threshold that this process has told of.
        self._known: dict[str, tuple[Began, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def share(self, first: First) -> None:
        """Ask here from now on who is the first to tell."""
        self._first = first

    def know(self, began: Began) -> None:
        """From now on this counter stands for this budget."""
        told = self._known.get(began.key)
        if told is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[began.key] = (began, 0)
        elif told[0].budget is not began.budget:
            # The row was edited.
            self._known[began.key] = (began, 0)

    def hear(self, used: Mapping[str, int]) -> None:
        """Counters stand so."""
        for key, amount in used.items():
            known = self._known.get(key)
            if known is None:
                continue
            began, told = known
            self._metrics.spent(began.budget, amount)
            reached = [step for step in THRESHOLDS if told < step <= _percent(began, amount)]
            if reached:
                self._known[key] = (began, reached[-1])
                task = asyncio.get_running_loop().create_task(self._tell(began, amount, reached))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Give up what is still to be told."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _tell(self, began: Began, used: int, reached: list[int]) -> None:
        budget = began.budget
        for step in reached:
            name = f"{began.key}:told:{budget.amount}:{step}"
            seconds = _REMEMBERED if began.seconds is None else began.seconds
            if self._first is not None and not await self._first(name, seconds):
                continue
            logger.warning(
                "budget %d (%s %s, %s a %s) has reached %d %%",
                budget.id,
                budget.scope,
                budget.owner,
                budget.unit,
                budget.period,
                step,
            )
            if budget.webhook_url:
                await self._call(began, used, step)

    async def _call(self, began: Began, used: int, step: int) -> None:
        request = UpstreamRequest(
            method="POST",
            url=began.budget.webhook_url,
            headers={"content-type": "application/json", "user-agent": "llm-gateway"},
            body=orjson.dumps(_event(began, used, step)),
            connect=_SECONDS,
            first_byte=_SECONDS,
            idle=_SECONDS,
        )
        for pause in (*PAUSES, None):
            why = await self._send(request)
            if why is None:
                self._metrics.notice("sent")
                return
            if pause is not None:
                await self._pause(pause)
            else:
                # Its address may hold a secret.
                logger.error("the webhook of budget %d could not be told: %s", began.budget.id, why)
                self._metrics.notice("failed")

    async def _send(self, request: UpstreamRequest) -> str | None:
        """Why it failed; None where it did not."""
        try:
            response = await self._transport.send(request)
        except UpstreamError as error:
            return error.reason
        try:
            return None if 200 <= response.status < 300 else f"status {response.status}"
        finally:
            await response.aclose()


def _percent(began: Began, used: int) -> int:
    return used * 100 // max(1, began.budget.amount)


def _event(began: Began, used: int, step: int) -> dict[str, object]:
    budget = began.budget
    money = budget.unit == "usd"
    return {
        "event": "budget.threshold",
        "budget": budget.id,
        "scope": budget.scope,
        "owner": budget.owner,
        "unit": budget.unit,
        "period": budget.period,
        "period_start": began.start.isoformat(),
        "hard": budget.hard,
        "threshold": step,
        "amount": budget.amount / NANO if money else budget.amount,
        "spent": used / NANO if money else used,
    }
