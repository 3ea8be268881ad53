"""Does work in a child process, so that what it loads is not held by who goes on serving."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Collection, Mapping
from types import FrameType
from typing import Any, NoReturn

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# What a shell says of a program that a signal ended.
_BY_SIGNAL = 128


class EndedError(Exception):
    """The work was not done: the child was killed, as by the kernel when memory is short."""


def apart(work: Callable[[], Mapping[str, Any]], begin: Callable[[], None]) -> dict[str, Any]:
    """What `work` returns, as JSON carries it, done in a fork of this process, in which `begin` comes first.

    Where `work` raises, the child goes on with that as this process would have, and tells why by itself; here
    SystemExit follows, with the child's status. SIGTERM and SIGINT meanwhile end the child and then this
    process. Raises EndedError where something else ended the child. To be called in the main thread, before
    others are started.
    """
    for stream in (sys.stdout, sys.stderr):
        # Or both processes would write out what waits there.
        stream.flush()
    hears, says = os.pipe()
    # Until each of the two processes knows what to do with them.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    child = os.fork()
    if child == 0:
        os.close(hears)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        begin()
        _tell(says, work())
    os.close(says)
    return _hear(child, hears, mask)


def _tell(says: int, outcome: Mapping[str, Any]) -> NoReturn:
    """In the child: its work is done."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with os.fdopen(says, "w") as line:
        json.dump(outcome, line)
    # What is registered for an exit is the other process's.
    os._exit(0)


def _hear(child: int, hears: int, mask: Collection[int]) -> dict[str, Any]:
    """In the parent. `mask`: the signals that were blocked before."""
    told: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        told.append(number)
        os.kill(child, number)

    before = {number: signal.signal(number, pass_on) for number in _SIGNALS}
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    with os.fdopen(hears) as line:
        said = line.read()
    # It is not buried before nobody sends it signals any more: its number could be another's by then.
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    for number, handler in before.items():
        signal.signal(number, handler)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if told:
        signal.raise_signal(told[0])
        # The first process of a container is not ended by a signal of its own.
        sys.exit(_BY_SIGNAL + told[0])
    if status < 0:
        raise EndedError(f"it was ended by signal {-status}")
    if status:
        sys.exit(status)
    outcome: dict[str, Any] = json.loads(said)
    return outcome
