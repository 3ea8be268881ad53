"""A whole round against real processes: what a right gateway shows, and that a wrong one is not measured."""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from bench.contenders import CHECKOUT, Contender, Place, UnavailableError
from bench.measure import Mock, Plan, direct_round, gateway_round
from bench.processes import Launch

PLAN = Plan(seconds=0.4, streams=(3,), rate=50, connections=2, cross=False, warm=0.1)

# Copies bytes between each client and the mock: the least that a gateway does.
_RELAY = """
import asyncio, sys

async def copy(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()

async def relay(reader, writer):
    inner, outer = await asyncio.open_connection("127.0.0.1", int(sys.argv[2]))
    await asyncio.gather(copy(reader, outer), copy(inner, writer))

async def main():
    server = await asyncio.start_server(relay, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()

asyncio.run(main())
"""


def no_headers(_: Place, __: str) -> Mapping[str, str]:
    return {}


def contender(*command: str, module: bool = False) -> Contender:
    def launch(place: Place) -> Launch:
        words = [sys.executable, *command]
        words += ["--port", str(place.port)] if module else [str(place.port), str(place.upstream)]
        return Launch(words, {}, CHECKOUT)

    return Contender("test", "Test", lambda _: "1", launch, no_headers, cross_model="")


@pytest.fixture
async def mock(tmp_path: Path) -> AsyncIterator[Mock]:
    mock = Mock(None, tmp_path, sys.executable)
    with closing(mock):
        await mock.ready()
        yield mock


async def test_a_right_gateway_has_every_figure_and_no_fault(mock: Mock, tmp_path: Path) -> None:
    outcome = await gateway_round(PLAN, mock, contender("-c", _RELAY), tmp_path, None)
    assert not outcome.faults
    figures = outcome.figures
    assert figures["requests_per_s"] > 0
    assert figures["requests_cpu_us_per_request"] > 0
    assert figures["streams_3_chunks_per_s"] > 0
    assert figures["streams_3_offered"] == 150
    assert figures["streams_3_ended_share"] == 1
    assert figures["requests_load_core"] > 0
    assert figures["rss_idle_mib"] > 1
    assert figures["start_s"] > 0


async def test_a_gateway_that_answers_by_itself_is_found_out(mock: Mock, tmp_path: Path) -> None:
    cheat = contender("-m", "bench.mock_upstream", module=True)
    outcome = await gateway_round(PLAN, mock, cheat, tmp_path, None)
    assert set(outcome.faults) == {"answers that the upstream never gave"}


async def test_no_gateway_has_speed_and_no_cost(mock: Mock) -> None:
    outcome = await direct_round(PLAN, mock)
    assert not outcome.faults
    assert outcome.figures["requests_per_s"] > 0
    assert not [name for name in outcome.figures if "cpu_us" in name]


async def test_a_gateway_that_ends_at_start_is_unavailable(mock: Mock, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="it ended at start: no licence"):
        await gateway_round(PLAN, mock, contender("-c", "raise SystemExit('no licence')"), tmp_path, None)


async def test_a_gateway_whose_stream_is_wrong_is_not_measured(mock: Mock, tmp_path: Path) -> None:
    lossy = _RELAY.replace("writer.write(data)", "writer.write(data.replace(b'.00000002.', b'.00000003.'))")
    with pytest.raises(UnavailableError, match="its stream is wrong"):
        await gateway_round(PLAN, mock, contender("-c", lossy), tmp_path, None)
