"""What a server and the door tell each other of a client that does not take what it is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Under this name in a scope's extensions. Another server has none, and cuts off such clients as it likes.
EXTENSION: Final = "gateway.reader"
# Under this name, a function that takes the one to call, once, when the client leaves before its reply is
# complete. A task for each request that waits for it costs far more; where a server has none, it is needed.
DEPARTURE: Final = "gateway.departure"


@dataclass(slots=True)
class Reader:
    """`patience`: the seconds for which the client may take nothing before the server gives it up; the door's
    to set. `stalled`: it has been given up for that; the server says so before it tells of the disconnect."""

    patience: float
    stalled: bool = False
