"""The gateway under Daphne, in this process: what the rest of the project needs to know of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from socket import socket
from typing import Any, cast

from twisted.logger import globalLogBeginner

from gateway_project.daphne.options import DaphneOptions
from gateway_project.daphne.reactor import install
from gateway_project.server import nobody

__all__ = ["DaphneOptions", "serve_daphne"]

# Before anything that imports Twisted's reactor: Daphne would install another, on asyncio's own loop.
REACTOR = install()

from gateway_project.daphne.lifecycle import Lifecycle  # noqa: E402 - see above
from gateway_project.daphne.server import Application, GatewayServer  # noqa: E402 - see above


def serve_daphne(
    application: Application,
    sockets: Sequence[socket],
    options: DaphneOptions,
    tell: Callable[[bytes], None] = nobody,
) -> None:
    """Serve on these bound sockets, which it closes, until SIGTERM or SIGINT and the drain after it.

    Call it in the main thread, once in a process: a reactor does not run twice. SystemExit with the reason
    when the application does not start. After a first signal `/ready` says no, the doors shut, and open
    requests have `options.drain_seconds`; a second signal ends them at once. `tell` is called with SERVES
    when connections are taken, and with LEAVES at a first signal."""
    server = GatewayServer(application, options, REACTOR)
    observers = cast(Any, [server.hear])  # an interface of zope's, which no type checker knows
    globalLogBeginner.beginLoggingTo(observers, redirectStandardIO=False, discardBuffer=True)
    Lifecycle(server, sockets, REACTOR, tell).run()
