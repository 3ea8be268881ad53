"""One process that listens: picks the server that the configuration names."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable

from gateway_project.config import Config


class ListenError(Exception):
    """The address cannot be listened on; the text says why."""


def bind(config: Config, *, shared: bool) -> socket.socket:
    """A bound socket. `shared`: several processes bind the same port, and the kernel shares out connections.
    Raises ListenError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ListenError(f"{config.host} is no address of this machine: {error.strerror}") from error
    listener = socket.socket(family, kind, protocol)
    try:
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Answers are small and whole: nothing is gained by waiting for more. Accepted sockets inherit it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ListenError(f"{config.host}:{config.port} cannot be listened on: {error.strerror}") from error
    return listener


# What a process says of itself: that it takes connections, and that it was told to end.
SERVES, LEAVES = b"s", b"l"


def nobody(_word: bytes) -> None:
    """Who is told by a process that serves alone."""


def run(config: Config, listener: socket.socket, tell: Callable[[bytes], None] = nobody) -> None:
    """Serve on `listener` until told to end and drained. `tell` is called with SERVES, then with LEAVES."""
    if config.server == "uvicorn":
        from gateway_project.asgi import application  # noqa: PLC0415 - it constructs the gateway
        from gateway_project.uvicorn_server import serve_uvicorn  # noqa: PLC0415 - only one server is loaded

        serve_uvicorn(application, [listener], tell)
    else:
        from gateway_project.daphne_server import DaphneOptions, serve_daphne  # noqa: PLC0415, I001 - it installs Twisted's reactor, which must come before anything else of Twisted
        from gateway_project.asgi import application  # noqa: PLC0415 - it constructs the gateway

        serve_daphne(application, [listener], DaphneOptions(), tell)
