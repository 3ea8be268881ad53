"""The marks inside prompts and answers that show a lost, doubled, reordered, damaged or foreign chunk.

A prompt carries an *order*: ``bench:<stream id>:<chunks>:<chunks per second>``. It is in the user's message
because that is the one field that every gateway carries, whichever dialect it speaks to the upstream. An
answer carries one *mark* per chunk: ``~<stream id>.<sequence>.<checksum>~``, all hexadecimal, so that no JSON
writer needs to escape it.
"""

import re
import zlib
from collections import Counter
from dataclasses import dataclass

MARK_LENGTH = 28
_MARK = re.compile(rb"~([0-9a-f]{8})\.([0-9a-f]{8})\.([0-9a-f]{8})~")
_ORDER = re.compile(rb"bench:([0-9]{1,9}):([0-9]{1,9}):([0-9]{1,6})")


@dataclass(frozen=True, slots=True)
class Order:
    """What a prompt asks of the mock: `chunks` chunks at `rate` a second (0: as fast as they are taken)."""

    stream_id: int
    chunks: int = 1
    rate: int = 0

    def text(self) -> str:
        """The order as it stands in a prompt."""
        return f"bench:{self.stream_id:09d}:{self.chunks}:{self.rate}"


def read_order(body: bytes) -> Order | None:
    """The order in a request body, or None where there is none."""
    found = _ORDER.search(body)
    if found is None:
        return None
    return Order(int(found[1]), int(found[2]), int(found[3]))


def mark(stream_id: int, sequence: int) -> bytes:
    """The mark of one chunk, always `MARK_LENGTH` bytes."""
    plain = b"%08x.%08x" % (stream_id, sequence)
    return b"~%b.%08x~" % (plain, zlib.crc32(plain))


class StreamCheck:
    """Follows one answer's marks and names whatever is not exactly 0, 1, ... `chunks` - 1 of its own stream.

    `feed` takes the body in pieces cut anywhere. `faults` counts by name; `close` adds what is still missing.
    """

    __slots__ = ("_end", "_missing", "_next", "_order", "_tail", "ended", "faults", "seen")

    def __init__(self, order: Order, end: bytes) -> None:
        self._order = order
        self._end = end
        self._next = 0
        self._missing: set[int] = set()
        self._tail = b""
        self.seen = 0
        self.ended = False
        self.faults: Counter[str] = Counter()

    def feed(self, data: bytes) -> int:
        """Take a piece of the body; returns how many good chunks were completed by it."""
        if self._tail:
            data = self._tail + data
        cut = data.rfind(b"\n") + 1
        self._tail = data[cut:]
        return self._lines(data[:cut]) if cut else 0

    def _lines(self, text: bytes) -> int:
        before = self.seen
        for stream_id, sequence, checksum in _MARK.findall(text):
            self._take(stream_id, sequence, checksum)
        if self._end in text:
            self.ended = True
        if b'"error"' in text:
            self.faults["error inside the stream"] += 1
        return self.seen - before

    def _take(self, stream_id: bytes, sequence: bytes, checksum: bytes) -> None:
        if zlib.crc32(stream_id + b"." + sequence) != int(checksum, 16):
            self.faults["wrong checksum"] += 1
            return
        if int(stream_id, 16) != self._order.stream_id:
            self.faults["another stream's chunk"] += 1
            return
        number = int(sequence, 16)
        if number == self._next:
            self._next += 1
        elif number > self._next:
            self._missing.update(range(self._next, min(number, self._order.chunks)))
            self._next = number + 1
        elif number in self._missing:
            self._missing.discard(number)
            self.faults["reordered chunk"] += 1
        else:
            self.faults["duplicated chunk"] += 1
            return
        self.seen += 1

    def close(self, *, complete: bool) -> None:
        """Count what is missing. `complete`: the answer ended of itself; else the bench cut it."""
        if self._tail:
            self._lines(self._tail)
            self._tail = b""
        lost = len(self._missing)
        if complete:
            lost += max(0, self._order.chunks - self._next)
            if not self.ended:
                self.faults["ended without its terminator"] += 1
        if self._next > self._order.chunks:
            self.faults["more chunks than ordered"] += 1
        if lost:
            self.faults["lost chunk"] += lost


def reply_fault(order: Order, body: bytes) -> str | None:
    """What is wrong with a whole (not streamed) answer to `order`; None when it carries just its own mark."""
    found = _MARK.findall(body)
    if not found:
        return "no mark in the reply"
    if len(found) > 1:
        return "duplicated mark in the reply"
    if b"~%b.%b.%b~" % found[0] == mark(order.stream_id, 0):
        return None
    stream_id, sequence, checksum = found[0]
    if zlib.crc32(stream_id + b"." + sequence) != int(checksum, 16):
        return "wrong checksum"
    return "another request's reply"
