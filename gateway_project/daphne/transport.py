"""A connection's socket: written to at once where it takes the bytes, and counted where it does not."""

from __future__ import annotations

import fcntl
import struct
import termios
from socket import SO_ERROR, SOL_SOCKET

from twisted.internet import tcp
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.main import CONNECTION_LOST
from typing_extensions import override

_COUNT = struct.Struct("i")


class Transport(tcp.Server):
    """Twisted's server socket. Its own `write` always waits for the next turn of the loop, which costs two
    system calls and a turn for every chunk."""

    @property
    def unsent(self) -> int:
        """Bytes that were written and that the kernel has not yet taken."""
        return len(self.dataBuffer) - self.offset + self._tempDataLen

    @property
    def untaken(self) -> int:
        """`unsent` and what the client's machine has not yet acknowledged. The kernel's own buffer is so
        large that a slow reader empties it for a long time before it takes more from us."""
        (queued,) = _COUNT.unpack(fcntl.ioctl(self.socket, termios.TIOCOUTQ, bytes(_COUNT.size)))
        return self.unsent + int(queued)

    @override
    def doRead(self) -> ConnectionLost | ConnectionDone | None:  # type: ignore[override]  # Twisted's bases disagree
        """As Twisted's, but a reset that came together with the last bytes is seen at once. uvloop tells of
        it this one time and never of this socket again; recv would say so at the next read."""
        try:
            data = self.socket.recv(self.bufferSize)
            broken = self.socket.getsockopt(SOL_SOCKET, SO_ERROR)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return CONNECTION_LOST
        lost = self._dataReceived(data)
        return CONNECTION_LOST if broken else lost

    @override
    def write(self, data: bytes) -> None:
        if (
            self.dataBuffer
            or self._tempDataLen
            or self.disconnecting
            or self._writeDisconnecting
            or self._aborting
            or not self.connected
        ):
            super().write(data)
            return
        try:
            sent = self.socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            # Twisted's own attempt will meet the same error and knows how to end the connection.
            sent = 0
        if sent < len(data):
            super().write(data[sent:] if sent else data)
