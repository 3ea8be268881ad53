"""What both servers keep to: the bounds of a head, the patience with clients, and how a process ends.

Times are in seconds, sizes in bytes.
"""

from __future__ import annotations

# What Envoy and nginx allow, nearly; the SDKs send a fifth of it.
MAX_HEAD = 16 * 1024
# A head is one packet: whoever needs longer is broken or means harm.
HEAD_SECONDS = 15.0
# Longer than load balancers and SDKs keep a connection (60, often less), so that they close it first and
# never send into one that is being closed.
IDLE_SECONDS = 75.0
# The longest message of a WebSocket. A piece of audio that a realtime model takes has 15 MiB at the most.
WEBSOCKET_MESSAGE = 16 * 1024 * 1024
# What a reader may rest without taking one byte.
STALL_SECONDS = 30.0
# Connections that wait in the kernel; the kernel caps it.
BACKLOG = 1024

# /ready has said no for so long before the door is shut; load balancers that ask more often lose nothing.
NOTICE_SECONDS = 0.8
# Between shutting the door and closing idle connections: who came last has sent its request by then.
ARRIVALS_SECONDS = 0.2
# Most streams end within it; orchestrators wait longer when they are told to.
DRAIN_SECONDS = 120.0
# To write the last words of what is cut.
LAST_SECONDS = 5.0
# At a second signal: enough to write the last words into the sockets, too little to be noticed.
HURRIED_SECONDS = 0.3
# A Ctrl-C reaches every process of a terminal, and a parent passes it on: a signal that follows so soon is
# the same one.
ECHO_SECONDS = 0.25
