"""Which calls may use the cache, by the route's settings and the client's wishes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dialects.cacheable import once_only, runs_tools, temperature
from dialects.errors import bad_request
from pipeline.call import Call
from routing.caching import Caching

# By these a client says what it wants of the cache.
CONTROL_HEADER = "cache-control"
TTL_HEADER = "x-gateway-cache-ttl"
# The least likeness of a question whose answer serves, where that is more than the route's.
THRESHOLD_HEADER = "x-gateway-semantic-threshold"
CONTROL_HEADERS = frozenset({CONTROL_HEADER, TTL_HEADER, THRESHOLD_HEADER})

_SECONDS = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Use:
    """What a call may do with the cache.

    `look`: it may be answered from it, by what is at most `max_age` seconds old; `keep`: its answer may be
    kept, for `ttl` seconds; `share`: others who ask the same at the same time may have its answer.
    """

    look: bool
    keep: bool
    share: bool
    max_age: float
    ttl: int

    @property
    def none(self) -> bool:
        return not (self.look or self.keep)


_NOTHING = Use(look=False, keep=False, share=False, max_age=0.0, ttl=0)


def use_of(call: Call, caching: Caching) -> Use:
    """What the route and the client allow this call. Raises GatewayError (400) for a header that makes no
    sense."""
    ttl = _ttl(call, caching)
    wanted = _directives(call.headers.get(CONTROL_HEADER, ""))
    if "no-store" in wanted or kept_out(call, caching):
        return _NOTHING
    max_age = min(float(caching.ttl), _max_age(wanted))
    look = "no-cache" not in wanted and max_age > 0
    # Whoever follows another's answer has it before it is known whether it calls tools.
    share = look and (caching.tools or "tools" not in call.facts.needs)
    return Use(look=look, keep=ttl > 0, share=share, max_age=max_age, ttl=ttl)


def kept_out(call: Call, caching: Caching) -> str:
    """Why the request itself has nothing to do with the cache; "" where it may."""
    if why := once_only(call.dialect.name, call.body, call.facts):
        return why
    if temperature(call.body) > caching.temperature:
        return f"its temperature is above {caching.temperature:g}"
    return "its provider runs tools" if not caching.tools and runs_tools(call.body) else ""


def _ttl(call: Call, caching: Caching) -> int:
    value = call.headers.get(TTL_HEADER)
    if value is None:
        return caching.ttl
    if not _SECONDS.fullmatch(value):
        raise bad_request(
            f"The header {TTL_HEADER} is a whole number of seconds, 0 or more.", code="invalid_header"
        )
    return min(caching.ttl, int(value))


def _directives(value: str) -> dict[str, str]:
    """The directives of a Cache-Control header; what is not understood is ignored, as the standard has it."""
    found: dict[str, str] = {}
    for part in value.split(","):
        name, _, argument = part.partition("=")
        found[name.strip().lower()] = argument.strip().strip('"')
    return found


def _max_age(wanted: dict[str, str]) -> float:
    age = wanted.get("max-age")
    if age is None:
        return float("inf")
    # An age that is no number asks for something that is fresh.
    return float(age) if _SECONDS.fullmatch(age) else 0.0
