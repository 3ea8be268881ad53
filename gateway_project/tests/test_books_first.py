"""Whoever has the whole answer is in the books: a process that is killed in the next moment owes nobody."""

from __future__ import annotations

import orjson
import pytest

from gateway_project.tests.cost import Bench, request
from gateway_project.tests.test_cost import on_uvloop, streamed, whole

_ASKED = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}


class Watched(Bench):
    """Notes how many calls the books had as each piece went out to the client."""

    def __init__(self, answer: list[bytes]) -> None:
        super().__init__(answer)
        self.written: list[tuple[bytes, int]] = []

    def _replied(self, data: bytes) -> None:
        self.written.append((data, len(self.gateway.records)))
        super()._replied(data)


@pytest.mark.parametrize("stream", [False, True])
def test_the_call_is_closed_before_the_end_of_its_answer_goes_out(stream: bool) -> None:
    async def run() -> list[tuple[bytes, int]]:
        bench = Watched(streamed(2) if stream else [whole()])
        end = b"0\r\n\r\n" if stream else b"}"
        await bench.ask(request(bench.key, orjson.dumps({**_ASKED, "stream": stream})), end)
        return bench.written

    written = on_uvloop(run())
    data, closed = written[-1]
    assert data.endswith(b"0\r\n\r\n" if stream else b"}")
    assert closed == 1
    # And none was closed before it was over.
    assert {count for _, count in written[:-1]} <= {0}
    assert len(written) > 1 or not stream
