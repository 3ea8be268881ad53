"""Twisted's reactor, on uvloop where there is one. It is installed before Twisted's other modules load."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.main import installReactor
from typing_extensions import override

if sys.platform != "win32" and sys.implementation.name == "cpython":
    from uvloop import new_event_loop
else:
    from asyncio import new_event_loop  # type: ignore[assignment]  # uvloop's makes a loop of its own class


class Reactor(AsyncioSelectorReactor):
    """Watches sockets without a log context for each event: Twisted's own log is not used here, and the
    context costs as much as a small read."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The asyncio loop below."""
        return self._asyncioEventloop

    @override
    def addReader(self, reader: Any) -> None:
        if reader not in self._readers:
            fd = reader.fileno()
            self._asyncioEventloop.add_reader(fd, self._readOrWrite, reader, True)  # noqa: FBT003 - add_reader passes no keywords on
            self._readers[reader] = fd

    @override
    def addWriter(self, writer: Any) -> None:
        if writer not in self._writers:
            fd = writer.fileno()
            self._asyncioEventloop.add_writer(fd, self._readOrWrite, writer, False)  # noqa: FBT003 - as above
            self._writers[writer] = fd


def install() -> Reactor:
    """Make this process's reactor, once. ReactorAlreadyInstalledError when Twisted has already chosen one."""
    reactor = Reactor(new_event_loop())
    installReactor(reactor)
    return reactor
