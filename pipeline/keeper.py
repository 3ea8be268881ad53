"""Files and batches: asks the provider that owns them, for the team that owns them, and for nobody else.

Which model a call is for says where it goes; a file has none. So a table says of each file and batch which
team made it, and at which provider's account it is. It is read and written here alone, away from every other
call.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import orjson
from msgspec import structs

from dialects.errors import NOT_FOUND, Detail, GatewayError
from dialects.file_ids import file_ids, may_name_files
from dialects.media import BATCHES, FILE_CONTENT, FILES, PassedDialect
from pipeline.answer import JSON_HEADERS
from pipeline.batches import check_batch, input_file
from pipeline.call import Call, Handler, Parcel, Reply, Wish
from pipeline.errand import Admission, Errand, Means
from pipeline.failures import invalid_response
from pipeline.homes import account, home_of, new_home
from routing.ownership import Kind, Owned, Ownership
from routing.plan import Plan
from routing.snapshot import Provider, Route, Target

# Batches of a list that are asked for at the same time.
PARALLEL = 8
# A batch lists what was wrong with its lines, and has a few names beside.
MAX_SHOWN = 64 * 1024
# States that a batch does not leave any more.
_OVER = frozenset({"completed", "failed", "expired", "cancelled"})
# What a batch writes are files of its team.
_OUTPUTS = ("output_file_id", "error_file_id")
# Every provider's ids are of these; nothing else may become a part of an address.
ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
# Surfaces whose requests may name files.
_NAMING = frozenset({"chat", "responses", "response_tokens", "image_edits", "images"})
_GET = Parcel(content_type="", method="GET")

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a provider answered, as it came and as an object, and by which credential it was asked."""

    reply: Reply
    object: dict[str, Any]
    credential: int | None

    @property
    def shown(self) -> dict[str, Any]:
        """What of it is kept: only its names where it is too large, or holds what a table cannot."""
        body = self.reply.body
        if isinstance(body, bytes) and len(body) <= MAX_SHOWN and b"\\u0000" not in body:
            return self.object
        return {name: self.object[name] for name in ("id", "object", "status") if name in self.object}


class Keeper:
    """Handler of calls with a wish; all others go on to `inner`. `asks`: sends a call to its target."""

    def __init__(
        self, inner: Handler, asks: Handler, errands: tuple[Means, Admission], ownership: Ownership
    ) -> None:
        self._inner = inner
        self._asks = asks
        self._means, self._admission = errands
        self._ownership = ownership
        self._writing: set[asyncio.Task[Any]] = set()

    async def __call__(self, call: Call) -> Reply:
        wish = call.wish
        if wish is None:
            if call.dialect.name in _NAMING and may_name_files(call.raw):
                await self._check(call, file_ids(call.body))
            return await self._inner(call)
        if wish.verb == "create":
            return await (self._new_file(call, wish) if wish.kind == "file" else self._new_batch(call))
        if wish.verb == "list":
            return await self._list(call, wish)
        owned = await self._owned(call, wish.kind, wish.id)
        home = home_of(call.snapshot, owned)
        if wish.verb == "content":
            call.dialect, call.parcel = FILE_CONTENT, replace(_GET, tail=f"/{owned.id}/content")
            return await self._errand(call, home)
        if wish.verb == "delete":
            return await self._delete(call, owned, home)
        if wish.verb == "cancel":
            parcel = Parcel(content_type="", tail=f"/{owned.id}/cancel")
        else:
            parcel = replace(_GET, tail=f"/{owned.id}")
        asked = await self._ask(call, parcel, home)
        await self._seen(owned, asked)
        return asked.reply

    # --- New ones

    async def _new_file(self, call: Call, wish: Wish) -> Reply:
        home = new_home(call, wish.provider)
        return await self._make(call, "file", home)

    async def _new_batch(self, call: Call) -> Reply:
        asked_for = input_file(call)
        source = await self._owned(call, "file", asked_for.file)
        home = home_of(call.snapshot, source)
        content = replace(_GET, tail=f"/{source.id}/content")
        part = _part(call, FILE_CONTENT, content)
        try:
            named = await check_batch(call, asked_for, home, await self._errand(part, home))
        finally:
            part.close()
        await self._check(call, named)
        return await self._make(call, "batch", home)

    async def _make(self, call: Call, kind: Kind, home: Provider) -> Reply:
        """What is made is written down before its maker hears of it; where that fails it is taken back."""
        asked = await self._ask(call, call.parcel, home)
        name = asked.object["id"]
        if not ID.fullmatch(name):
            raise invalid_response("The provider gave an id that cannot be asked for.")
        owned = Owned(kind, name, call.caller.team.id, call.caller.id, home.id, asked.credential, asked.shown)
        task = asyncio.ensure_future(self._write_down(call, owned, home))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        # A client that leaves now has made it all the same.
        await asyncio.shield(task)
        return asked.reply

    async def _write_down(self, call: Call, owned: Owned, home: Provider) -> None:
        try:
            ours = await asyncio.to_thread(self._ownership.add, owned)
        except GatewayError:
            tail = f"/{owned.id}" if owned.kind == "file" else f"/{owned.id}/cancel"
            method = "DELETE" if owned.kind == "file" else "POST"
            with suppress(GatewayError):
                await self._ask(call, Parcel(content_type="", method=method, tail=tail), account(home, owned))
            raise
        if not ours:
            raise invalid_response("The provider gave an id that it has given to somebody else.")

    # --- Those that are there

    async def _check(self, call: Call, named: Collection[str]) -> None:
        """Refuse a request that names a file of another team: it would show what is in it."""
        if not named:
            return
        team = call.caller.team.id
        strange = await asyncio.to_thread(self._ownership.strangers, team, sorted(named))
        if strange:
            raise _unknown("file", strange[0])

    async def _owned(self, call: Call, kind: Kind, name: str) -> Owned:
        found = None
        if ID.fullmatch(name):
            found = await asyncio.to_thread(self._ownership.find, call.caller.team.id, kind, name)
        if found is None:
            raise _unknown(kind, name)
        return found

    async def _delete(self, call: Call, owned: Owned, home: Provider) -> Reply:
        parcel = Parcel(content_type="", method="DELETE", tail=f"/{owned.id}")
        asked = await self._ask(call, parcel, home)
        await asyncio.to_thread(self._ownership.remove, owned)
        return asked.reply

    async def _list(self, call: Call, wish: Wish) -> Reply:
        team = call.caller.team.id
        rows, more = await asyncio.to_thread(self._ownership.page, team, wish.kind, wish.page)
        shown = [row.shown for row in rows] if wish.kind == "file" else await self._now(call, rows)
        ids = [row.id for row in rows]
        answer = {
            "object": "list",
            "data": shown,
            "first_id": ids[0] if ids else None,
            "last_id": ids[-1] if ids else None,
            "has_more": more,
        }
        return Reply(200, list(JSON_HEADERS), orjson.dumps(answer))

    async def _now(self, call: Call, rows: Sequence[Owned]) -> list[dict[str, Any]]:
        """Batches as they are now; of those that are over that is known."""
        places = asyncio.Semaphore(PARALLEL)

        async def look(row: Owned) -> dict[str, Any]:
            if row.shown.get("status") in _OVER:
                return row.shown
            async with places:
                asked = await self._ask(call, replace(_GET, tail=f"/{row.id}"), home_of(call.snapshot, row))
            await self._seen(row, asked)
            return asked.object

        return await _together([look(row) for row in rows])

    async def _seen(self, owned: Owned, asked: Asked) -> None:
        """Keep how it is shown now, and whose the files are that a batch has written."""
        shown = asked.object
        if asked.shown == owned.shown:
            return
        if owned.kind == "batch":
            for name in (shown.get(output) for output in _OUTPUTS):
                if isinstance(name, str) and ID.fullmatch(name):
                    made = {"id": name, "object": "file", "purpose": "batch_output"}
                    output = replace(owned, kind="file", id=name, shown=made)
                    await asyncio.to_thread(self._ownership.add, output)
        await asyncio.to_thread(self._ownership.show, replace(owned, shown=asked.shown))

    # --- Asking

    async def _ask(self, call: Call, parcel: Parcel, home: Provider) -> Asked:
        """One JSON answer of this provider."""
        assert call.wish is not None  # noqa: S101 - a programmer's error, not input
        part = _part(call, FILES if call.wish.kind == "file" else BATCHES, parcel)
        try:
            reply = await self._errand(part, home)
        finally:
            part.close()
        if not isinstance(reply.body, bytes):
            raise invalid_response("The provider's answer is not of the expected form.")
        return Asked(reply, orjson.loads(reply.body), part.credential.id if part.credential else None)

    async def _errand(self, call: Call, home: Provider) -> Reply:
        target = Target(id=0, provider=home)
        chosen = Plan(Route(id=0, name="", pattern="", targets=(target,)), candidates=(target,))
        call.deadline = call.deadline.sooner(home.timeouts.total)
        return await Errand(call, chosen, self._means, self._admission).run(self._asks)


def _part(call: Call, dialect: PassedDialect, parcel: Parcel) -> Call:
    """A request of the call's: its attempts are on the call's record."""
    raw = call.raw if parcel is call.parcel else b""
    return structs.replace(call, dialect=dialect, parcel=parcel, raw=raw, _closers=[], _closed=False)


async def _together(tasks: Sequence[Awaitable[Result]]) -> list[Result]:
    """The results in their order. The first that fails ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(_run(task)) for task in tasks]
    except* GatewayError as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in running]


async def _run(task: Awaitable[Result]) -> Result:
    return await task


def _unknown(kind: Kind, name: str) -> GatewayError:
    shown = name if ID.fullmatch(name) else "this id"
    words = f"No such File object: {shown}" if kind == "file" else f"No batch found with id '{shown}'."
    return GatewayError(NOT_FOUND, words, Detail(param="id"))
