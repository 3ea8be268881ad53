"""The endpoints under /v1, one small class each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import orjson

from apiv1.base import GatewayView, Visit
from apiv1.calls import CallView
from apiv1.errors import SAFE_HEADERS, request_id_headers
from apiv1.inbound import Inbound
from apiv1.listing import Listed, find, listed
from dialects.chat import CHAT
from dialects.completions import COMPLETIONS
from dialects.count_tokens import COUNT_TOKENS
from dialects.embeddings import EMBEDDINGS
from dialects.errors import NO_MODEL, NOT_FOUND, Detail, Family, GatewayError, bad_request
from dialects.messages import MESSAGES
from dialects.responses import RESPONSES
from pipeline.call import Reply

# No provider's list tells when a model was made; both dialects require the field.
_UNKNOWN_TIME = "1970-01-01T00:00:00Z"
# Anthropic's own bounds for one page.
_MAX_PAGE = 1000
# It knows three fields of a query.
_MAX_FIELDS = 20


class ChatCompletions(CallView):
    """POST /v1/chat/completions."""

    surface = "chat"
    dialect = CHAT


class Completions(CallView):
    """POST /v1/completions, the legacy form."""

    surface = "completions"
    dialect = COMPLETIONS


class Embeddings(CallView):
    """POST /v1/embeddings."""

    surface = "embeddings"
    dialect = EMBEDDINGS


class Messages(CallView):
    """POST /v1/messages, Anthropic's dialect."""

    surface = "messages"
    family = "anthropic"
    dialect = MESSAGES


class CountTokens(CallView):
    """POST /v1/messages/count_tokens: the provider's own count, an estimate where it has none."""

    surface = "count_tokens"
    family = "anthropic"
    dialect = COUNT_TOKENS


class Responses(CallView):
    """POST /v1/responses, OpenAI's newer dialect. The gateway keeps no state between calls."""

    surface = "responses"
    dialect = RESPONSES


class ModelView(GatewayView):
    """What the two model addresses share: a client that names an Anthropic version gets Anthropic's shape."""

    surface = "models"

    def family_for(self, inbound: Inbound) -> Family:
        return "anthropic" if "anthropic-version" in inbound.headers else "openai"


class Models(ModelView):
    """GET /v1/models: what this key may use."""

    async def get(self, visit: Visit) -> Reply:
        models = listed(visit.snapshot, visit.key)
        if self.family_for(visit.inbound) == "anthropic":
            return json_reply(visit, _page(models, visit.inbound.query))
        return json_reply(visit, {"object": "list", "data": [_openai(model) for model in models]})


class Model(ModelView):
    """GET /v1/models/{id}; an id may hold slashes and colons."""

    async def get(self, visit: Visit) -> Reply:
        name = visit.captured
        model = find(visit.snapshot, visit.key, name)
        if model is None:
            raise GatewayError(
                NO_MODEL,
                f"The model {name[:200]!r} does not exist or you do not have access to it.",
                Detail(param="model"),
            )
        if self.family_for(visit.inbound) == "anthropic":
            return json_reply(visit, _anthropic(model))
        return json_reply(visit, _openai(model))


class Unknown(GatewayView):
    """Every other address under /v1: who has a key is told that there is nothing."""

    surface = "unknown"

    def family_for(self, inbound: Inbound) -> Family:
        return "anthropic" if inbound.path.startswith("/v1/messages") else "openai"

    def _handler(self, method: str) -> Callable[[Visit], Awaitable[Reply]]:  # noqa: ARG002 - nothing for all
        return self.get

    async def get(self, visit: Visit) -> Reply:
        path = visit.inbound.path
        hint = ""
        if path.startswith("/v1/v1/"):
            hint = " The path has /v1 twice: leave it out of the base URL, or out of the path."
        raise GatewayError(NOT_FOUND, f"There is nothing at {path[:200]!r}.{hint}")


class KeptResponse(Unknown):
    """/v1/responses/{id} and below: there is none, because the gateway keeps no state between calls."""

    surface = "responses"

    async def get(self, visit: Visit) -> Reply:  # noqa: ARG002 - the same for every id
        raise GatewayError(
            NOT_FOUND,
            "The gateway keeps no responses: send the whole conversation in 'input'.",
            Detail(code="response_not_found"),
        )


class Health(GatewayView):
    """GET /health: the process is alive, and its event loop goes on. It asks nobody."""

    surface = "health"
    public = True

    async def get(self, visit: Visit) -> Reply:
        alive = visit.services.status.alive()
        reply = json_reply(visit, {"status": "ok" if alive else "stuck"})
        reply.status = 200 if alive else 503
        return reply


class Ready(GatewayView):
    """GET /ready: whether to send traffic here; what exactly is wrong only for those who have a key."""

    surface = "ready"
    public = True

    async def get(self, visit: Visit) -> Reply:
        status = visit.services.status
        ready = status.ready()
        body: dict[str, Any] = {"ready": ready, "degraded": status.degraded()}
        if not ready:
            body["reason"] = status.waits_for()
        if visit.caller is not None:
            body |= await status.report()
        reply = json_reply(visit, body)
        reply.status = 200 if ready else 503
        return reply


def json_reply(visit: Visit, body: Any) -> Reply:
    """A whole JSON reply with the headers that every reply has."""
    headers = [
        ("content-type", "application/json"),
        *SAFE_HEADERS,
        *request_id_headers(visit.inbound.request_id),
    ]
    return Reply(200, headers, orjson.dumps(body))


def _openai(model: Listed) -> dict[str, Any]:
    return {"id": model.id, "object": "model", "created": 0, "owned_by": model.owner}


def _anthropic(model: Listed) -> dict[str, Any]:
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.id,
        "created_at": _UNKNOWN_TIME,
        # What is retired at its provider is taken out of the routes and the catalogue.
        "lifecycle": "active",
    }


def _page(models: list[Listed], query: bytes) -> dict[str, Any]:
    """One page as Anthropic's list endpoint gives it: `limit` models after, or before, an id."""
    try:
        asked = parse_qs(query.decode("latin-1"), max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise bad_request("The query has too many fields.") from None
    limit = _limit(asked.get("limit", [str(_MAX_PAGE)])[-1])
    ids = [model.id for model in models]
    after, before = asked.get("after_id", [""])[-1], asked.get("before_id", [""])[-1]
    if before:
        end = _position(ids, before, "before_id")
        chosen, more = models[max(0, end - limit) : end], end > limit
    else:
        start = _position(ids, after, "after_id") + 1 if after else 0
        chosen, more = models[start : start + limit], len(models) > start + limit
    return {
        "data": [_anthropic(model) for model in chosen],
        "has_more": more,
        "first_id": chosen[0].id if chosen else None,
        "last_id": chosen[-1].id if chosen else None,
    }


def _limit(text: str) -> int:
    # The length first: int() refuses thousands of digits with an error of its own.
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= _MAX_PAGE):
        raise bad_request(f"limit must be a number from 1 to {_MAX_PAGE}.", "limit")
    return int(text)


def _position(ids: list[str], wanted: str, param: str) -> int:
    try:
        return ids.index(wanted)
    except ValueError:
        raise bad_request(f"{param} is not the id of a model in this list.", param) from None
