"""Loaded by Python itself in a gateway under test: SIGUSR1 makes its event loop stand still, as a bug would.

`FAULT_BLOCK_SECONDS` says for how long; `FAULT_STUCK_LOOKS` is after how many of its looks the watchdog gives
a loop up, so that a test need not wait for half a minute.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType


def _block(_number: int, _frame: FrameType | None) -> None:
    looks = os.environ.get("FAULT_STUCK_LOOKS")
    if looks:
        vars(sys.modules["pipeline.watchdog"])["_STUCK"] = int(looks)
    time.sleep(float(os.environ["FAULT_BLOCK_SECONDS"]))


if "FAULT_BLOCK_SECONDS" in os.environ:
    signal.signal(signal.SIGUSR1, _block)
