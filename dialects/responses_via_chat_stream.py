"""Chunks of chat completions as the events of a response, and the response that they make."""

from __future__ import annotations

import time
from typing import Any

import orjson

from dialects.chat import openai_usage
from dialects.errors import GatewayError
from dialects.parts import (
    finish_word,
    new_id,
    parsed_arguments,
    responses_usage,
    sealed,
    shifted,
    thought_in,
    truncated_answer,
)
from dialects.responses_failed import failed
from dialects.responses_via_chat_request import Plan
from dialects.responses_via_chat_turns import FREE_TEXT
from dialects.sse import escape, frame_json
from dialects.types import JsonObject

_DELTA = b'event: %b\ndata: {"type":"%b","item_id":"%b","output_index":%d,%b"delta":'
_TIERS = ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")


class _Writer:
    """Numbers the events of one stream. `sent`: how many of them have left."""

    def __init__(self) -> None:
        self._number = 0
        self.sent = 0

    def leave(self, out: bytes) -> bytes:
        """Events on their way to the client, with all that were written before."""
        self.sent = self._number
        return out

    def event(self, name: str, **fields: Any) -> bytes:
        number = self._number
        self._number = number + 1
        return frame_json({"type": name, "sequence_number": number, **fields}, name)

    def delta(self, head: bytes, text: str, logprobs: bytes = b"") -> bytes:
        """A piece of text behind a head that is the same for all pieces of its part: most of a stream."""
        number = self._number
        self._number = number + 1
        return b'%b%b,%b"sequence_number":%d}\n\n' % (head, escape(orjson.dumps(text)), logprobs, number)

    def failed(self, response: JsonObject, error: GatewayError, request_id: str) -> bytes:
        """The last event. What was written and did not leave has not happened."""
        return failed(response, self.sent, error, request_id)


class _Item:
    """One item of the output as it grows. `item` is what the client has of it at the end.

    Its place in the output is taken when its first event goes out: some readers append items as they come.
    """

    def __init__(self, writer: _Writer, output: list[_Item], item: JsonObject) -> None:
        self._writer = writer
        self._output = output
        self._index = 0
        self._place: JsonObject = {}
        self.item = item

    def open(self) -> bytes:
        self._index = len(self._output)
        self._output.append(self)
        self._place = {"item_id": self.item["id"], "output_index": self._index}
        return self._writer.event("response.output_item.added", output_index=self._index, item=self.item)

    def so_far(self) -> JsonObject:
        """The item for a response that ends here."""
        if self.item["status"] == "in_progress":
            self.item["status"] = "incomplete"
            self._keep()
        return self.item

    def _keep(self) -> None:
        """Put the pieces that have gone out into the item."""

    def _head(self, name: bytes, place: bytes = b"") -> bytes:
        return _DELTA % (name, name, self.item["id"].encode(), self._index, place)

    def _done(self, status: str) -> bytes:
        self.item["status"] = status
        return self._writer.event("response.output_item.done", output_index=self._index, item=self.item)


class _Message(_Item):
    """A message of the model: parts of text and refusal, one open at a time."""

    def __init__(self, writer: _Writer, output: list[_Item], begins: int) -> None:
        super().__init__(
            writer,
            output,
            {
                "id": new_id("msg_"),
                "type": "message",
                "status": "in_progress",
                "role": "assistant",
                "content": [],
            },
        )
        # Where the next part of text begins in the whole answer's, and where the last one does.
        self._chars = begins
        self._begins = begins
        # The open part, empty while none is.
        self._part: JsonObject = {}
        self._pieces: list[str] = []
        self._delta = b""

    def text(self, text: str, logprobs: list[JsonObject]) -> bytes:
        out = self._begin("output_text")
        self._pieces.append(text)
        self._chars += len(text)
        if not logprobs:
            return out + self._writer.delta(self._delta, text, b'"logprobs":[],')
        self._part["logprobs"] += logprobs
        written = b'"logprobs":' + escape(orjson.dumps(logprobs)) + b","
        return out + self._writer.delta(self._delta, text, written)

    def refuse(self, text: str) -> bytes:
        out = self._begin("refusal")
        self._pieces.append(text)
        return out + self._writer.delta(self._delta, text)

    def annotate(self, annotation: JsonObject) -> bytes:
        """A citation, whose place is counted in the whole answer's text. It belongs to the last part of text,
        even where a refusal has ended that; without any there is nothing that it could cite."""
        parts = [(at, part) for at, part in enumerate(self.item["content"]) if part["type"] == "output_text"]
        if not parts:
            return b""
        at, part = parts[-1]
        annotation = {**annotation, **shifted(annotation, -self._begins)}
        part["annotations"].append(annotation)
        return self._writer.event(
            "response.output_text.annotation.added",
            **self._place,
            content_index=at,
            annotation_index=len(part["annotations"]) - 1,
            annotation=annotation,
        )

    def close(self, status: str) -> bytes:
        return self._end() + self._done(status)

    def _begin(self, kind: str) -> bytes:
        if self._part.get("type") == kind:
            return b""
        out = self._end()
        if kind == "refusal":
            self._part = {"type": kind, "refusal": ""}
            name = b"response.refusal.delta"
        else:
            self._begins = self._chars
            self._part = {"type": kind, "annotations": [], "logprobs": [], "text": ""}
            name = b"response.output_text.delta"
        content = self.item["content"]
        content.append(self._part)
        self._delta = self._head(name, b'"content_index":%d,' % (len(content) - 1))
        return out + self._writer.event("response.content_part.added", **self._at(), part=self._part)

    def _end(self) -> bytes:
        part = self._part
        if not part:
            return b""
        text = "".join(self._pieces)
        self._pieces = []
        if part["type"] == "refusal":
            part["refusal"] = text
            out = self._writer.event("response.refusal.done", **self._at(), refusal=text)
        else:
            part["text"] = text
            out = self._writer.event(
                "response.output_text.done", **self._at(), text=text, logprobs=part["logprobs"]
            )
        return out + self._writer.event("response.content_part.done", **self._at(), part=part)

    def _keep(self) -> None:
        if self._part:
            self._part["refusal" if self._part["type"] == "refusal" else "text"] = "".join(self._pieces)

    def _at(self) -> JsonObject:
        return {**self._place, "content_index": len(self.item["content"]) - 1}


class _Reasoning(_Item):
    """What the model thought, as the text of one summary. `replayable`: who thought it takes it back, so it
    is sealed for clients that send back only what is."""

    def __init__(self, writer: _Writer, output: list[_Item], *, replayable: bool) -> None:
        item = {"id": new_id("rs_"), "type": "reasoning", "status": "in_progress", "summary": []}
        super().__init__(writer, output, item)
        self._replayable = replayable
        self._pieces: list[str] = []
        self._delta = b""

    def think(self, text: str) -> bytes:
        out = b""
        if not self._pieces:
            self._delta = self._head(b"response.reasoning_summary_text.delta", b'"summary_index":0,')
            part = {"type": "summary_text", "text": ""}
            out = self._writer.event(
                "response.reasoning_summary_part.added", **self._place, summary_index=0, part=part
            )
        self._pieces.append(text)
        return out + self._writer.delta(self._delta, text)

    def seal(self, block: JsonObject) -> None:
        """Keep a signed block with the item, for the client to send back."""
        self.item["encrypted_content"] = sealed(block)

    def _keep(self) -> None:
        if self._pieces:
            self.item["summary"] = [{"type": "summary_text", "text": "".join(self._pieces)}]

    def close(self, status: str) -> bytes:
        out = b""
        if self._pieces:
            text = "".join(self._pieces)
            part = {"type": "summary_text", "text": text}
            self.item["summary"] = [part]
            if self._replayable and "encrypted_content" not in self.item:
                self.seal({"type": "thinking", "thinking": text, "signature": ""})
            at = {**self._place, "summary_index": 0}
            out = self._writer.event("response.reasoning_summary_text.done", **at, text=text)
            out += self._writer.event("response.reasoning_summary_part.done", **at, part=part)
        return out + self._done(status)


class _Call(_Item):
    """A call of a function or a custom tool. Nothing goes out before its first argument, or before the model
    turns to something else, since its name may come in pieces until then."""

    def __init__(self, writer: _Writer, output: list[_Item], call_id: str) -> None:
        item = {"id": new_id("fc_"), "type": "function_call", "status": "in_progress", "call_id": call_id}
        super().__init__(writer, output, item)
        self.upstream_id = call_id
        self.name = ""
        self.started = False
        self.closed = False
        self._custom = False
        self._pieces: list[str] = []
        self._delta = b""

    def is_whole(self) -> bool:
        """True when the arguments so far are a complete JSON object."""
        text = "".join(self._pieces)
        return text.rstrip().endswith("}") and parsed_arguments(text) is not None

    def write(self, text: str, plan: Plan) -> bytes:
        out = self.start(plan)
        self._pieces.append(text)
        # The input of a custom tool is known only when the function's arguments are whole.
        return out if self._custom else out + self._writer.delta(self._delta, text)

    def close(self, status: str, plan: Plan) -> bytes:
        out = self.start(plan)
        self.closed = True
        text = "".join(self._pieces)
        if self._custom:
            said = _free_text(text)
            self._delta = self._head(b"response.custom_tool_call_input.delta")
            out += self._writer.delta(self._delta, said) if said else b""
            self.item["input"] = said
            out += self._writer.event("response.custom_tool_call_input.done", **self._place, input=said)
            return out + self._done(status)
        if not text and status == "completed":
            # A client reads them as JSON, which nothing is not.
            text = "{}"
            out += self._writer.delta(self._delta, text)
        self.item["arguments"] = text
        out += self._writer.event("response.function_call_arguments.done", **self._place, arguments=text)
        return out + self._done(status)

    def _keep(self) -> None:
        if not self._custom:
            self.item["arguments"] = "".join(self._pieces)

    def start(self, plan: Plan) -> bytes:
        """Open it, if it is not open already."""
        if self.started:
            return b""
        self.started = True
        kind, name, namespace = plan.tools.back(self.name)
        self._custom = kind == "custom"
        self.item["name"] = name
        if namespace:
            self.item["namespace"] = namespace
        if self._custom:
            self.item["id"] = new_id("ctc_")
            self.item["type"] = "custom_tool_call"
            self.item["input"] = ""
        else:
            self.item["arguments"] = ""
        out = self.open()
        self._delta = self._head(b"response.function_call_arguments.delta")
        return out


class ResponseEvents:
    """One answer's state. Items open and close in the order in which the model turns to them; only calls
    whose arguments come in turns are open side by side.

    `response` is the answer as far as it is known; whole once `finish` was called.
    """

    def __init__(self, plan: Plan, asked: JsonObject, model: str) -> None:
        self._plan = plan
        self._writer = _Writer()
        self._model = model
        self._asked = asked
        self._begun = False
        self._items: list[_Item] = []
        self._open: _Message | _Reasoning | None = None
        self._calls: list[_Call] = []
        self._keys: dict[Any, _Call] = {}
        self._call_ids: set[str] = set()
        self._finish: str | None = None
        self._usage: JsonObject | None = None
        # Characters of text in all messages.
        self._chars = 0
        self.response: JsonObject = {}

    def chunk(self, chunk: JsonObject) -> bytes:
        """The events for one chunk, b"" for none."""
        return self._writer.leave(self._chunk(chunk))

    def _chunk(self, chunk: JsonObject) -> bytes:
        out = b"" if self._begun else self._begin(chunk)
        usage = chunk.get("usage")
        if usage:
            counted = openai_usage(usage)
            self._usage = responses_usage(counted) if counted else self._usage
        if chunk.get("service_tier") in _TIERS:
            self.response["service_tier"] = chunk["service_tier"]
        choices = chunk.get("choices")
        if not choices:
            return out
        choice = choices[0]
        if choice.get("index"):
            # Another answer of several, which no client of this dialect can have asked for.
            return out
        delta = choice.get("delta")
        if delta:
            out += self._delta(delta, choice.get("logprobs"))
        finish = choice.get("finish_reason")
        if finish and type(finish) is str:
            self._finish = finish_word(finish)
        return out

    def finish(self) -> bytes:
        """The end of what is open, and the whole response."""
        if self._finish is None:
            raise truncated_answer()
        reason = _INCOMPLETE.get(self._finish)
        status = "incomplete" if reason else "completed"
        out = self._close(status)
        for call in self._calls:
            out += call.close("completed" if call.is_whole() else status, self._plan)
        self._calls = []
        response = self.response
        response["status"] = status
        response["output"] = [item.item for item in self._items]
        response["usage"] = self._usage
        if reason:
            response["incomplete_details"] = {"reason": reason}
        else:
            response["completed_at"] = int(time.time())
        return out + self._writer.event(f"response.{status}", response=response)

    def fail(self, error: GatewayError, request_id: str) -> bytes:
        """The response as it stands, failed."""
        out = b""
        if not self._writer.sent:
            self._writer = _Writer()
            out = self._writer.leave(self._begin({}))
        output = [item.so_far() for item in self._items]
        return out + self._writer.failed(
            {**self.response, "output": output, "usage": self._usage}, error, request_id
        )

    def _begin(self, chunk: JsonObject) -> bytes:
        self._begun = True
        model = chunk.get("model")
        self.response = {
            "id": new_id("resp_"),
            "object": "response",
            "created_at": int(time.time()),
            "completed_at": None,
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "model": model if model and type(model) is str else self._model,
            "output": [],
            "usage": None,
            "service_tier": None,
            **self._asked,
        }
        out = self._writer.event("response.created", response=self.response)
        return out + self._writer.event("response.in_progress", response=self.response)

    def _delta(self, delta: JsonObject, logprobs: Any) -> bytes:
        out = b""
        if len(delta) > 1 or "content" not in delta:
            out = self._thoughts(delta)
        content = delta.get("content")
        if content:
            out += self._text(content, logprobs)
        if len(delta) > 1 or not content:
            out += self._rest(delta)
        return out

    def _rest(self, delta: JsonObject) -> bytes:
        out = b""
        # They are of the text, which a refusal ends.
        for annotation in delta.get("annotations") or ():
            out += self._annotation(annotation)
        refusal = delta.get("refusal")
        if refusal:
            begun, message = self._message()
            out += begun + message.refuse(_string(refusal))
        for piece in delta.get("tool_calls") or ():
            out += self._call(piece, piece.get("function") or {})
        legacy = delta.get("function_call")
        if legacy:
            out += self._call({"index": 0}, legacy)
        return out

    # --- Text and thinking

    def _thoughts(self, delta: JsonObject) -> bytes:
        if self._plan.between and delta.get("thinking_blocks"):
            # Whole blocks: of what was thought so far, or of thinking that is not shown.
            return b"".join(map(self._block, delta["thinking_blocks"]))
        text = delta.get("reasoning_content") or delta.get("reasoning")
        return self._think(_string(text)) if text else b""

    def _think(self, text: str) -> bytes:
        out, reasoning = self._reasoning()
        return out + reasoning.think(text)

    def _block(self, block: JsonObject) -> bytes:
        is_shown = isinstance(self._open, _Reasoning)
        out, reasoning = self._reasoning()
        if block.get("thinking") and not is_shown:
            out += reasoning.think(_string(block["thinking"]))
        if block.get("signature") or block["type"] == "redacted_thinking":
            reasoning.seal(block)
        return out + self._close("completed")

    def _text(self, text: Any, logprobs: Any) -> bytes:
        if type(text) is list:
            return b"".join(self._content(part) for part in text)
        out, message = self._message()
        self._chars += len(_string(text))
        return out + message.text(text, _logprobs(logprobs) if logprobs else [])

    def _content(self, part: JsonObject) -> bytes:
        """A part of the content, where a server gives parts. What is neither said nor thought is no text."""
        thought = thought_in(part)
        if thought:
            return self._think(thought)
        return self._text(part["text"], None) if part.get("type") == "text" and part["text"] else b""

    def _annotation(self, annotation: JsonObject) -> bytes:
        # It may come after a call, when the message that it is about is over.
        message = next((item for item in reversed(self._items) if isinstance(item, _Message)), None)
        if annotation.get("type") != "url_citation" or message is None:
            return b""
        cited = annotation["url_citation"]
        made = {"type": "url_citation", "url": cited["url"], "title": cited.get("title") or ""}
        return message.annotate({**made, **shifted(cited, 0)})

    # --- Items

    def _message(self) -> tuple[bytes, _Message]:
        """The open message, and the events that open it."""
        if isinstance(self._open, _Message):
            return b"", self._open
        message = _Message(self._writer, self._items, self._chars)
        return self._turn_to(message), message

    def _reasoning(self) -> tuple[bytes, _Reasoning]:
        """The open reasoning, and the events that open it."""
        if isinstance(self._open, _Reasoning):
            return b"", self._open
        reasoning = _Reasoning(self._writer, self._items, replayable=self._plan.between)
        return self._turn_to(reasoning), reasoning

    def _turn_to(self, item: _Message | _Reasoning) -> bytes:
        out = self._close("completed") + self._settle()
        self._open = item
        return out + item.open()

    def _close(self, status: str) -> bytes:
        if self._open is None:
            return b""
        out = self._open.close(status)
        self._open = None
        return out

    # --- Calls

    def _call(self, piece: JsonObject, function: JsonObject) -> bytes:
        out = b""
        call = self._find(piece, function)
        if call is None:
            out = self._close("completed") + self._settle()
            call = self._new_call(piece)
        if call.closed:
            # Its arguments were whole; what follows can only be white space.
            return out
        name = function.get("name")
        # A name may come in pieces, or whole with every piece.
        if name and name != call.name and not call.started:
            call.name += _string(name)
        arguments = function.get("arguments")
        if arguments:
            text = arguments if type(arguments) is str else orjson.dumps(arguments).decode()
            out += call.write(text, self._plan)
        return out

    def _find(self, piece: JsonObject, function: JsonObject) -> _Call | None:
        """The call that a piece belongs to: by index, or by id where a server numbers all of them alike. None
        for the first piece of a call."""
        given = piece.get("id")
        call = self._keys.get(self._key(piece))
        is_other = call is not None and given and given != call.upstream_id and function.get("name")
        return None if is_other else call

    def _key(self, piece: JsonObject) -> Any:
        key = piece.get("index")
        return key if key is not None else piece.get("id") or next(reversed(self._keys), None)

    def _new_call(self, piece: JsonObject) -> _Call:
        given = piece.get("id")
        key = self._key(piece)
        if type(given) is not str or not given or given in self._call_ids:
            given = new_id("call_")
        call = _Call(self._writer, self._items, given)
        call.upstream_id = piece.get("id") or given
        self._call_ids.add(given)
        self._keys[key] = call
        self._calls.append(call)
        return call

    def _settle(self) -> bytes:
        """Open every call and close those whose arguments are whole: the model turns to something else."""
        out = b"".join(call.start(self._plan) for call in self._calls)
        for call in [c for c in self._calls if c.is_whole()]:
            out += call.close("completed", self._plan)
            self._calls.remove(call)
        return out


# Why an answer is not complete, by chat's finish reason; every other one completes it.
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def _string(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(value)
    return value


def _free_text(arguments: str) -> str:
    """The input of a custom tool from the arguments of its function. A model that wrote the text itself, or
    gave it another name, meant it so."""
    parsed = parsed_arguments(arguments)
    if parsed is None:
        return arguments
    if not parsed:
        return ""
    said = parsed.get(FREE_TEXT, next(iter(parsed.values())))
    return said if type(said) is str else orjson.dumps(said).decode()


def _logprobs(given: JsonObject) -> list[JsonObject]:
    """Log probabilities of a text's tokens."""
    return [
        {**_logprob(entry), "top_logprobs": [_logprob(top) for top in entry.get("top_logprobs") or ()]}
        for entry in given.get("content") or ()
    ]


def _logprob(entry: JsonObject) -> JsonObject:
    return {"token": entry["token"], "logprob": entry["logprob"], "bytes": entry.get("bytes") or []}
