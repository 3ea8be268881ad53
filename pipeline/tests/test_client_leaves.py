"""What a stream costs whose client has left: an estimate of what it read, or what the provider counts to
the end."""

from __future__ import annotations

import http.client
import threading
from dataclasses import dataclass, replace

import orjson
import pytest

from pipeline.tests.faults import SHORT
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import PAIRS, TEXT, Pair, address, ask, request_body
from tests.support.upstream.script import Answer, Stage, Stall, WaitFor

CONTENT = 3


@dataclass(frozen=True, slots=True)
class Rest:
    """What is left of the provider's answer after so many events."""

    after: int

    async def run(self, stage: Stage) -> None:
        for frame in (stage.default().frames or [])[self.after :]:
            await stage.raw(stage.frame(frame))


def leave_in_the_middle(live: LiveGateway, pair: Pair) -> None:
    """Read the beginning of a stream and go."""
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=20)
    headers = {"authorization": f"Bearer {live.key}", "content-type": "application/json"}
    connection.request("POST", address(pair.surface), orjson.dumps(request_body(pair, stream=True)), headers)
    response = connection.getresponse()
    assert response.status == 200
    assert response.read1(100)
    response.close()
    connection.close()


def serve(live: LiveGateway, pair: Pair, on_disconnect: str) -> None:
    provider = live.provider(pair.kind)
    live.use(live.snapshot([live.route("*", provider, on_disconnect=on_disconnect)]))


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_c3_it_is_closed_at_the_provider_and_its_cost_estimated(
    live: LiveGateway, fake: FakeUpstream, pair: Pair
) -> None:
    serve(live, pair, "cancel")
    fake.script(pair.path, [Answer(events=pair.leading + CONTENT), Stall()])
    leave_in_the_middle(live, pair)
    record = live.wait_record()
    assert (record.outcome, record.status) == ("client_gone", 499)
    assert record.usage is not None
    assert record.usage.source == "estimated"
    assert fake.wait_closed(fake.last)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_c3_or_it_is_read_to_its_end_and_its_cost_known(
    live: LiveGateway, fake: FakeUpstream, pair: Pair
) -> None:
    serve(live, pair, "drain")
    whole = ask(live, pair, stream=True)
    assert whole.text == TEXT
    expected = live.wait_record().usage
    gone = threading.Event()
    sent = pair.leading + CONTENT
    fake.script(pair.path, [Answer(events=sent), WaitFor(gone), Rest(sent)])
    leave_in_the_middle(live, pair)
    live.wait(lambda: live.door.in_flight == 0)
    assert len(live.records) == 1, "the call is open as long as it is read"
    assert live.ears.open == 1
    gone.set()
    record = live.wait_record(2)
    assert (record.outcome, record.status) == ("client_gone", 499)
    assert record.usage == expected
    assert expected is not None
    assert expected.source == "provider"
    live.wait(lambda: live.live.slots.total == 0)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_what_stalls_then_is_given_up_by_its_timeout(
    live: LiveGateway, fake: FakeUpstream, pair: Pair
) -> None:
    provider = replace(live.provider(pair.kind), timeouts=SHORT)
    live.use(live.snapshot([live.route("*", provider, on_disconnect="drain")]))
    fake.script(pair.path, [Answer(events=pair.leading + CONTENT), Stall()])
    leave_in_the_middle(live, pair)
    record = live.wait_record()
    assert record.usage is not None
    assert record.usage.source == "estimated"
    assert fake.wait_closed(fake.last)
