"""Puts together what a process says of itself to whoever watches live traffic."""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections import Counter
from typing import Protocol

from pipeline.live import LiveState
from pipeline.pulse import Now, PulseBook
from pipeline.pulse_boards import Board
from pipeline.pulse_desk import Desk


class Served(Protocol):
    """The process as the gateway knows it."""

    draining: bool

    @property
    def in_flight(self) -> int: ...


class LiveTraffic:
    """`book` hears of each call, `desk` tells."""

    def __init__(self, board: Board, live: LiveState, served: Served) -> None:
        self._live = live
        self._served = served
        self.book = PulseBook(_name())
        self.desk = Desk(self.book, board, self._now)

    def _now(self) -> Now:
        in_flight: Counter[str] = Counter()
        for (provider, _), count in self._live.slots.all_taken().items():
            in_flight[provider] += count
        return Now(
            open=self._served.in_flight,
            draining=self._served.draining,
            in_flight=dict(in_flight),
            waiting={str(route): count for route, count in self._live.slots.depth().items()},
            breakers=[
                (provider, model, state, round(seconds, 1))
                for (provider, model), (state, seconds) in self._live.report().items()
                if state != "closed"
            ],
        )


def _name() -> str:
    """No other process's, nor that of one that was: it is a file's name too."""
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:60]
    return f"{host}-{os.getpid()}-{secrets.token_hex(3)}"
