"""Loaded by Python itself in a gateway under test: SIGUSR2 makes it write which modules it has loaded into
the file that `MODULES_TOLD` names. `FAILS_A_CHECK` gives it a system check that finds something."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any


def _tell(_number: int, _frame: FrameType | None) -> None:
    told = Path(os.environ["MODULES_TOLD"])
    beside = told.with_suffix(".new")
    beside.write_text("\n".join(sorted(sys.modules)))
    beside.replace(told)


if "MODULES_TOLD" in os.environ:
    signal.signal(signal.SIGUSR2, _tell)

if "FAILS_A_CHECK" in os.environ:
    from django.core import checks

    @checks.register()
    def _fails(**_: Any) -> list[checks.CheckMessage]:
        return [checks.Error("broken on purpose")]
