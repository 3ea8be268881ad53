"""How a process ends: the times that all servers keep, in seconds."""

from __future__ import annotations

# /ready has said no for so long before the door is shut; load balancers that ask more often lose nothing.
NOTICE_SECONDS = 0.8
# Most streams end within it; orchestrators wait longer when they are told to.
DRAIN_SECONDS = 120.0
# To write the last words of what is cut.
LAST_SECONDS = 5.0
