"""The budget by rooms: a sample is the innermost known room's, and shares become microseconds."""

import pytest

from bench.rooms import read_samples, room_of, table

_SERVER = "run_asgi (uvicorn/protocols/http/httptools_impl.py:421)"
_DOOR = "Door._serve (apiv1/door.py:99)"
_UPSTREAM = "Upstream._attempt (pipeline/upstream.py:120)"


@pytest.mark.parametrize(
    ("frames", "room"),
    [
        ([_SERVER], "server"),
        ([_SERVER, _DOOR], "door"),
        ([_SERVER, _DOOR, "caller (apiv1/auth.py:31)", "digest (hmac.py:180)"], "authentication"),
        (
            [_SERVER, _DOOR, _UPSTREAM, "send (providers/transport.py:60)", "__init__ (httpx/_models.py:9)"],
            "transport",
        ),
        ([_SERVER, _DOOR, _UPSTREAM, "dialects (providers/kinds.py:41)"], "upstream"),
        ([_SERVER, _DOOR, "closed (pipeline/requestlog.py:41)", "encode (json/encoder.py:2)"], "log"),
        ([_SERVER, _DOOR, "close (pipeline/call.py:200)"], "close"),
        (["run (/somewhere/checkout/apiv1/door.py:3)"], "door"),
        (["run (uvicorn/server.py:75)", "Runner.run (asyncio/runners.py:118)"], "event loop and reads"),
        (["<module> (manage.py:3)"], "event loop and reads"),
    ],
)
def test_a_sample_belongs_to_the_innermost_known_room(frames: list[str], room: str) -> None:
    assert room_of(frames) == room


def test_samples_are_counted_by_room_and_by_function_whatever_the_line() -> None:
    budget = read_samples(
        [f"{_SERVER};{_DOOR} 30", f"{_SERVER};Door._serve (apiv1/door.py:101) 10", f"{_SERVER} 60"]
    )
    assert budget.samples == 100
    assert budget.rooms == {"door": 40, "server": 60}
    assert budget.functions["Door._serve (apiv1/door.py)"] == 40


def test_threads_that_wait_are_no_cost() -> None:
    budget = read_samples(
        [
            "run (threading.py:982);_worker (concurrent/futures/thread.py:81) 70",
            "watch (routing/watch.py:90);Condition.wait (threading.py:320) 20",
            f"{_SERVER} 10",
        ]
    )
    assert budget.rooms == {"server": 10}


def test_shares_become_microseconds_of_the_undisturbed_run() -> None:
    text = table(read_samples([f"{_SERVER};{_DOOR} 25", f"{_SERVER} 75"]), 200.0, "request")
    assert "| door | 25.0% | 50.0 |" in text
    assert "| server | 75.0% | 150.0 |" in text
    assert "| all | 100% | 200.0 |" in text
