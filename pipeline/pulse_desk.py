"""Brings together once a second what all processes say of themselves, and hands it to who watches here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from pipeline.pulse import Now, Pulse, PulseBook, Second
from pipeline.pulse_boards import Board
from pipeline.repeating import Repeating

INTERVAL = 1.0
# A page that takes nothing for so many seconds gets the newest then.
_BACKLOG = 5

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Pulse)


class Beat(msgspec.Struct):
    """What is new since the beat before. `processes`: how each is by its name; `seconds`: what ended.
    `alone`: only this process could be heard."""

    processes: dict[str, Now]
    seconds: list[Second]
    alone: bool = False


class Desk:
    """Runs on the event loop. While nobody watches anywhere it costs one question a second."""

    def __init__(
        self, book: PulseBook, board: Board, now: Callable[[], Now], interval: float = INTERVAL
    ) -> None:
        self._book = book
        self._board = board
        self._now = now
        self._watchers: set[asyncio.Queue[Beat]] = set()
        # The last second that was heard of each process.
        self._heard: dict[str, int] = {}
        self._repeating = Repeating("telling live traffic", self.beat, interval)

    def start(self) -> None:
        """Begin on the running loop."""
        self._repeating.start()

    async def stop(self) -> None:
        """End it."""
        await self._repeating.stop()
        await self._board.aclose()

    @contextmanager
    def watch(self) -> Iterator[asyncio.Queue[Beat]]:
        """Beats as they come; the oldest are left out for who is slow."""
        queue: asyncio.Queue[Beat] = asyncio.Queue(_BACKLOG)
        self._watchers.add(queue)
        try:
            yield queue
        finally:
            self._watchers.discard(queue)

    async def beat(self) -> None:
        """Say and hear once."""
        book, watching = self._book, bool(self._watchers)
        pulse = book.tick(self._now()) if book.watched else None
        said = b"" if pulse is None else _encoder.encode(pulse)
        heard = await self._board.exchange(book.process, said, watching=watching)
        book.watched = heard.watched or bool(self._watchers)
        if not watching:
            self._heard.clear()
            return
        pulses = {one.process: one for one in map(_read, heard.pulses) if one is not None}
        alone = not pulses
        if pulse is not None:
            pulses[pulse.process] = pulse
        self._hand_out(self._news(pulses, alone=alone))

    def _news(self, pulses: dict[str, Pulse], *, alone: bool) -> Beat:
        seconds = [
            second
            for name, pulse in pulses.items()
            for second in pulse.seconds
            if second.number > self._heard.get(name, 0)
        ]
        self._heard = {
            name: max((one.number for one in it.seconds), default=0) for name, it in pulses.items()
        }
        return Beat({name: pulse.now for name, pulse in pulses.items()}, seconds, alone)

    def _hand_out(self, beat: Beat) -> None:
        for queue in self._watchers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(beat)


def _read(pulse: bytes) -> Pulse | None:
    """None for what another version wrote, or somebody else."""
    try:
        return _decoder.decode(pulse)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
