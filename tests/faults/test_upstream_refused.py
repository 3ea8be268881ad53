"""U1 to U5 and U34: a provider that cannot be reached, or does not begin to answer."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline.tests.faults import BAD, LATE, SHORT
from tests.faults.trial import EVERYWHERE, STREAMS, WHOLE, Fault, Trial, on
from tests.support.fake_upstream import FakeUpstream, Match
from tests.support.surfaces import CHAT_OPENAI, MESSAGES_OPENAI
from tests.support.tls import server_context
from tests.support.upstream.script import Raw, Reset, Stall

SLOW = {"timeouts": SHORT}
# One cross-dialect and one plain pair: the rest of the way is the same for all.
FEW = on((CHAT_OPENAI, MESSAGES_OPENAI))


@EVERYWHERE
def test_u01_connection_refused(trial: Trial) -> None:
    nobody = {"base_url": "http://127.0.0.1:1/v1"}
    trial.proves(Fault(BAD, "upstream_unreachable", "refused", changes=nobody))


@FEW
def test_u02_name_does_not_resolve(trial: Trial) -> None:
    nowhere = {"base_url": "http://nowhere.invalid/v1"}
    trial.proves(Fault(BAD, "upstream_unreachable", "dns", changes=nowhere))


CERTIFICATES = {"self-signed": ("127.0.0.1", 1), "name": ("127.0.0.2", 1), "expired": ("127.0.0.1", -1)}


@pytest.fixture(params=CERTIFICATES)
def impostor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a provider whose certificate nobody should believe."""
    host, days = CERTIFICATES[request.param]
    fake = FakeUpstream(tls=server_context(tmp_path, host=host, days=days)[0]).start()
    yield f"https://127.0.0.1:{fake.port}/v1"
    fake.stop()


@pytest.fixture
def black_hole() -> Iterator[str]:
    """An address at which nobody accepts: the backlog is full, so further packets are dropped."""
    with ExitStack() as stack:
        deaf = stack.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        yield f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"


@FEW
def test_u03_certificate_refused(impostor: str, trial: Trial) -> None:
    bad = {"base_url": impostor}
    trial.proves(Fault(BAD, "upstream_unreachable", "tls", again=False, changes=bad))
    trial.alone(**bad)
    message = trial.ask().error()["message"]
    assert "TLS" in message
    assert "BEGIN" not in message


class _Plain(socketserver.BaseRequestHandler):
    """Speaks HTTP where a handshake is expected."""

    def handle(self) -> None:
        self.request.recv(4096)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.fixture
def no_tls() -> Iterator[str]:
    """The address of a server that knows no TLS."""
    with socketserver.TCPServer(("127.0.0.1", 0), _Plain) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"https://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()
        thread.join()


@FEW
def test_u03_garbage_instead_of_a_handshake(no_tls: str, trial: Trial) -> None:
    plain = {"base_url": no_tls}
    trial.proves(Fault(BAD, "upstream_unreachable", "tls", again=False, changes=plain))


@FEW
def test_u04_nobody_accepts(black_hole: str, trial: Trial) -> None:
    hole = {"base_url": black_hole, **SLOW}
    trial.proves(Fault(LATE, "upstream_connect_timeout", "connect_timeout", changes=hole))


@STREAMS
def test_u05_a_stream_that_does_not_begin(trial: Trial) -> None:
    # Another may be quicker. The same one again would only double the wait.
    fault = Fault(LATE, "upstream_first_byte_timeout", "first_byte_timeout", again=False, charge="input",
                  closed=True, changes=SLOW)  # fmt: skip
    trial.proves(fault, Stall())


@WHOLE
def test_u05_a_whole_answer_that_does_not_begin(trial: Trial) -> None:
    # The provider may be at work on it: nobody else is asked to do, and to bill, the same.
    fault = Fault(LATE, "upstream_first_byte_timeout", "first_byte_timeout", again=False, elsewhere=False,
                  charge="input", closed=True, changes=SLOW)  # fmt: skip
    trial.proves(fault, Stall())


@WHOLE
def test_u05_a_whole_answer_that_another_gives_by_the_routes_word(trial: Trial) -> None:
    """It may be billed twice, which is counted and stands in the ledger."""
    fault = Fault(LATE, "upstream_first_byte_timeout", "first_byte_timeout", again=False, charge="input",
                  closed=True, changes=SLOW)  # fmt: skip
    trial.does(Stall())
    trial.serve(trial.named("first", **SLOW), trial.named("second"), late_fallback=True)
    trial.falls_over(fault)
    (end,) = (line["end"] for line in trial.live.ledger.lines if "end" in line)
    assert end["possible_double_bill"]


@EVERYWHERE
def test_u34_a_stale_connection_costs_one_silent_resend(trial: Trial) -> None:
    trial.alone()
    trial.answers()
    stale = trial.fake.script(Match(path="/first/", where=lambda seen: seen.turn > 1), [Reset()], times=1)
    # One attempt in all that is counted, and one sample of the breaker.
    trial.answers()
    assert stale.used == 1
    kept, reset, new = (request.turn for request in trial.fake.requests)
    assert (reset, new) == (kept + 1, 1)


@EVERYWHERE
def test_u34_a_fresh_connection_is_an_attempt_each_time(trial: Trial) -> None:
    trial.proves(Fault(BAD, "upstream_truncated", "reset"), Raw(b"HTTP/1.1 200 O"), Reset())
