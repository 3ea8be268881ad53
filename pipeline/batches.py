"""What a batch may hold: every line is checked before its provider hears of it.

A batch is made of a file that went to the provider before, so its requests never come by here. They are read
once, when the batch is made: a file cannot be changed, so that what was read is what will run.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from dialects.batch_lines import BatchLines
from dialects.errors import NO_MODEL, PERMISSION, Detail, GatewayError, bad_request
from pipeline.call import Call, Reply
from pipeline.failures import invalid_response
from routing.plan import allowed, match
from routing.snapshot import Provider


@dataclass(frozen=True, slots=True)
class BatchOrder:
    """What a client asks for: the file with the requests, and where each of them goes."""

    file: str
    endpoint: str


def input_file(call: Call) -> BatchOrder:
    """The order, if the key may give one. Raises GatewayError."""
    caller = call.caller
    if (caller.limits or caller.budgets) and not caller.team.batches:
        raise GatewayError(
            PERMISSION,
            "What a batch uses is not counted against limits and budgets, and this key has some: its team "
            "must be allowed to make batches all the same.",
            Detail(code="batches_not_allowed"),
        )
    file, endpoint = call.body.get("input_file_id"), call.body.get("endpoint")
    for name, value in (("input_file_id", file), ("endpoint", endpoint)):
        if type(value) is not str or not value:
            raise bad_request(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
    return BatchOrder(str(file), str(endpoint))


async def check_batch(call: Call, order: BatchOrder, home: Provider, content: Reply) -> set[str]:
    """Read the file's lines; the ids of the files that they name. Raises GatewayError for a line that this
    key could not have sent itself, under the same name and to the same provider."""
    body = content.body
    if isinstance(body, bytes):
        raise invalid_response("The provider's answer is not of the expected form.")
    lines = BatchLines(order.endpoint, lambda model: _permit(call, model, home))
    try:
        async for piece in body:
            lines.feed(piece)
            # A file of 200 MB is not to hold up everybody else.
            await asyncio.sleep(0)
    finally:
        await body.aclose()
    lines.finish()
    return lines.files


def _permit(call: Call, model: str, home: Provider) -> None:
    if not allowed(call.caller, model):
        raise GatewayError(
            PERMISSION,
            f"this key may not use the model {model[:200]!r}.",
            Detail(code="model_not_allowed", param="input_file_id"),
        )
    route = match(call.snapshot, model, call.caller.team.id)
    targets = route.targets if route else ()
    if not any(
        target.enabled and target.provider.id == home.id and target.upstream_model in ("", model)
        for target in targets
    ):
        raise GatewayError(
            NO_MODEL,
            f"no route leads from the model {model[:200]!r} to the provider that keeps the file, under the "
            "same name.",
            Detail(param="input_file_id", status=400),
        )
