"""Leaves that the pairs share: media, ids, tool names and inputs, reasoning levels, usage, stop reasons."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from dialects.errors import UPSTREAM_BAD, Detail, GatewayError, bad_request
from dialects.types import JsonObject, Usage

# --- Ids ---------------------------------------------------------------------------------------------

_CLAUDE_ID = re.compile(r"[a-zA-Z0-9_-]+", re.ASCII)
_NOT_SAFE = re.compile(r"[^a-zA-Z0-9_-]", re.ASCII)
# OpenAI refuses longer ids of tool calls.
OPENAI_ID_LIMIT = 40


def new_id(prefix: str) -> str:
    """An id that no provider has given: `prefix` and 96 random bits."""
    return prefix + secrets.token_hex(12)


def claude_id(tool_id: str) -> str:
    """An id of a tool call that Anthropic accepts. The same id always becomes the same, so a call and its
    result still match."""
    if _CLAUDE_ID.fullmatch(tool_id):
        return tool_id
    return f"{_NOT_SAFE.sub('_', tool_id)[:48]}_{_digest(tool_id)}"


def openai_id(tool_id: str) -> str:
    """An id of a tool call short enough for OpenAI, the same for the same id."""
    if len(tool_id) <= OPENAI_ID_LIMIT:
        return tool_id
    return f"{tool_id[: OPENAI_ID_LIMIT - 9]}_{_digest(tool_id)}"


class CallIds:
    """Ids for the calls of one answer: the provider's own where it gives a usable, new one, else made up."""

    def __init__(self, prefix: str, clean: Callable[[str], str]) -> None:
        self._prefix = prefix
        self._clean = clean
        self._seen: set[str] = set()

    def of(self, call: JsonObject) -> str:
        # Ollama gives it beside the name in some versions.
        function = call.get("function")
        found = call.get("id") or (function.get("id") if type(function) is dict else None)
        call_id = self._clean(found) if type(found) is str and found else ""
        if not call_id or call_id in self._seen:
            call_id = new_id(self._prefix)
        self._seen.add(call_id)
        return call_id


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def end_user(user: str, limit: int) -> str:
    """An end user's id that a provider accepts: hashed when too long, or when it is an address or a phone
    number, which providers refuse as personal data."""
    if len(user) <= limit and not _PERSONAL.search(user):
        return user
    return hashlib.sha256(user.encode()).hexdigest()[: min(limit, 64)]


_PERSONAL = re.compile(r"[^@\s]@[^@\s]+\.|^\+?[\d\s().-]{8,}$")

# --- Media -------------------------------------------------------------------------------------------


class Media(NamedTuple):
    """Base64 data and its media type, as in a `data:` URL."""

    type: str
    data: str


def data_url(url: str) -> Media | None:
    """The media in a base64 `data:` URL; None for any other address. Base64 may be broken into lines."""
    if url[:5].lower() != "data:":
        return None
    head, comma, data = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        return None
    kind = head[5:-7].partition(";")[0].strip().lower()
    if "\n" in data:
        data = data.replace("\r", "").replace("\n", "")
    return Media("image/jpeg" if kind == "image/jpg" else kind, data.strip())


# Media types of text that do not begin with "text/".
_TEXTS = frozenset(
    f"application/{name}"
    for name in ("json", "x-ndjson", "jsonl", "xml", "yaml", "x-yaml", "toml", "javascript", "sql", "x-sh")
)


def is_text(media_type: str) -> bool:
    """True for documents that a model can be given as text."""
    return media_type.startswith("text/") or media_type in _TEXTS or media_type.endswith(("+json", "+xml"))


# How the usual formats begin in base64.
_IMAGE_STARTS: Mapping[str, str] = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
}
IMAGE_TYPES = frozenset(_IMAGE_STARTS.values())


def image_type(media: Media) -> str:
    """The image's real type: what its first bytes say, else what was declared."""
    for start, kind in _IMAGE_STARTS.items():
        if media.data.startswith(start):
            return kind
    return media.type


def is_web_url(url: str) -> bool:
    return url[:8].lower().startswith(("https://", "http://"))


# --- Tools -------------------------------------------------------------------------------------------


class ToolNames:
    """Tool names made safe for a provider, and back again in its answer. One per request."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._back: dict[str, str] = {}

    def out(self, name: str) -> str:
        """The provider's name for a client's tool; the same for the same."""
        if len(name) <= self._limit and _CLAUDE_ID.fullmatch(name):
            return name
        safe = f"{_NOT_SAFE.sub('_', name)[: self._limit - 9]}_{_digest(name)}"
        self._back[safe] = name
        return safe

    def back(self, name: str) -> str:
        """The client's own name of a tool that the provider calls."""
        return self._back.get(name, name)


def parsed_arguments(arguments: Any) -> JsonObject | None:
    """A call's arguments as an object; nothing is `{}`; None for what is no JSON object."""
    if type(arguments) is dict:
        return arguments
    if arguments is None or arguments == "":
        return {}
    if type(arguments) is not str:
        return None
    if not arguments.strip():
        return {}
    try:
        value = orjson.loads(arguments)
    except ValueError:
        return None
    return value if type(value) is dict else None


def tool_input(arguments: Any) -> JsonObject:
    """A past call's arguments as an object; text that is none is kept under one key, so that the model
    sees what it wrote."""
    parsed = parsed_arguments(arguments)
    return {"_raw_arguments": arguments} if parsed is None else parsed


def tool_arguments(value: Any) -> str:
    """A call's input as the compact JSON text that OpenAI carries. What is text already goes on as it came,
    and whatever else was said in an object's place too: its reader shall see it."""
    if type(value) is str:
        return value or "{}"
    return orjson.dumps({} if value is None else value).decode()


# What an answer has lost that calls a tool with what is no JSON object, where its dialect has no other place
# for it.
LOST_INPUT = "tool_use.input"


def answered_input(arguments: Any, losses: Losses) -> JsonObject:
    """The input of a tool that the model calls. Broken text cannot be one: it is `{}` then, and a loss."""
    parsed = parsed_arguments(arguments)
    if parsed is None:
        losses.note(LOST_INPUT)
        return {}
    return parsed


# --- Reasoning ---------------------------------------------------------------------------------------

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

# Tokens of thinking for an effort, where a model takes a budget. Half of 32,000 for high leaves room to
# answer within common caps; 1,024 is the least that Anthropic takes.
_BUDGETS: Mapping[str, int] = {
    "minimal": 1024,
    "low": 2048,
    "medium": 4096,
    "high": 16384,
    "xhigh": 24576,
    "max": 31999,
}
MIN_BUDGET = 1024


def budget_for(effort: str) -> int:
    """Tokens of thinking for an effort other than none."""
    return _BUDGETS[effort]


def effort_for(budget: int) -> str:
    """The effort that a budget of thinking tokens asks for."""
    if budget < 2048:
        return "low"
    if budget < 8192:
        return "medium"
    return "high" if budget < 24576 else "xhigh"


def openai_effort(effort: str, caps: frozenset[str]) -> str | None:
    """The nearest effort that an OpenAI model takes; None where reasoning cannot be turned off or down."""
    if effort in ("low", "medium", "high") or f"effort_{effort}" in caps:
        return effort
    nearest = {"none": ("minimal",), "minimal": ("low",), "max": ("xhigh", "high"), "xhigh": ("high",)}
    for other in nearest.get(effort, ()):
        if other in ("low", "high") or f"effort_{other}" in caps:
            return other
    return None


# How everything begins that the gateway sealed: what follows is base64 of JSON.
SEAL = "gw1."


def sealed(value: JsonObject) -> str:
    """One dialect's reasoning as the opaque text that another lets a client replay. Nothing is secret in it,
    and its owner checks it again."""
    return SEAL + base64.b64encode(orjson.dumps(value)).decode()


def unsealed(text: Any) -> JsonObject | None:
    """What was sealed; None for text that the gateway did not seal."""
    if type(text) is not str or not text.startswith(SEAL):
        return None
    try:
        value = orjson.loads(base64.b64decode(text[len(SEAL) :], validate=True))
    except ValueError:
        return None
    return value if type(value) is dict else None


# --- Stop reasons ------------------------------------------------------------------------------------

FINISH_OF_STOP: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
STOP_OF_FINISH: Mapping[str, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}

# What servers say beside chat's own words. An unknown word is the end of a turn: clients read them so too.
_FINISH_WORDS: Mapping[str, str] = {
    "model_length": "length",
    "max_tokens": "length",
    "max_length": "length",
    "safety": "content_filter",
    "recitation": "content_filter",
}
# An answer that ends so is none: the server broke it off.
_BROKEN_OFF = frozenset({"error", "abort", "aborted", "cancelled"})


def finish_word(finish: Any) -> str:
    """Why an answer of chat completions has ended, in chat's own words as far as it is known. Raises
    GatewayError where nothing is said, or that it was broken off."""
    if type(finish) is not str or not finish or finish in _BROKEN_OFF:
        raise truncated_answer()
    if finish in STOP_OF_FINISH:
        return finish
    word = finish.lower()
    # Gemini adds which filter it was.
    return "content_filter" if word.startswith("content_filter") else _FINISH_WORDS.get(word, finish)


def thought_in(part: JsonObject) -> str:
    """What a part of an answer's content holds that was thought and not said, as Mistral's models give it."""
    thought = part.get("thinking") if part.get("type") == "thinking" else None
    if type(thought) is list:
        thought = "".join(inner["text"] for inner in thought if inner.get("type") == "text")
    return thought if type(thought) is str else ""


# --- Usage -------------------------------------------------------------------------------------------


def chat_usage(usage: Usage) -> JsonObject:
    """Usage as chat completions report it: the prompt with its cached parts."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def messages_usage(usage: Usage) -> JsonObject:
    """Usage as Anthropic reports it: the prompt without what the cache gave and took."""
    return {
        "input_tokens": max(0, usage.input_tokens - usage.cache_read - usage.cache_write),
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
    }


def responses_usage(usage: Usage) -> JsonObject:
    """Usage as responses report it, where the details are required."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


# --- Citations ---------------------------------------------------------------------------------------


def shifted(citation: JsonObject, by: int) -> JsonObject:
    """Where a citation stands, `by` characters further on: texts are joined, or taken apart again."""
    places = ((name, citation.get(name)) for name in ("start_index", "end_index"))
    return {name: max(0, place + by) if type(place) is int else 0 for name, place in places}


# --- Losses and refusals -----------------------------------------------------------------------------


_FIELD_NAME = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}", re.ASCII)


class Losses(list[str]):
    """The client's fields that could not travel, each once, in the order in which they were met.

    They go into a header and a log line, so a client cannot write anything there: names that are no plain
    field names are counted as one, and so are those beyond the limit.
    """

    _LIMIT = 40
    _OTHER = "other"

    def note(self, name: str) -> None:
        if len(self) >= self._LIMIT or not _FIELD_NAME.fullmatch(name):
            name = self._OTHER
        if name not in self:
            self.append(name)

    def note_unknown(self, body: JsonObject, known: Iterable[str], neutral: Mapping[str, Any]) -> None:
        """Note every field that is neither known nor null nor at a value that asks for nothing."""
        for name, value in body.items():
            if value is None or name in known or (name in neutral and value == neutral[name]):
                continue
            self.note(name)


def number(body: JsonObject, name: str, fail: Callable[[str], GatewayError]) -> float | None:
    """A number that may be absent or null."""
    value = body.get(name)
    if value is not None and type(value) not in (int, float):
        raise fail(name)
    return value


def as_text(value: Any, where: str) -> str:
    """A string of a client's body; null counts as empty."""
    if value is None:
        return ""
    if type(value) is not str:
        raise bad_request(f"'{where}' must be a string.", where, "invalid_type")
    return value


# --- Anthropic's blocks that only have words elsewhere -------------------------------------------------


def titled(title: Any, text: str) -> str:
    """A document as part of a prompt, under its title if it has one."""
    return f"{title}\n\n{text}" if type(title) is str and title else text


def search_text(block: JsonObject) -> str:
    """A result of a search as text: its title and source, then what was found."""
    head = [part for part in (block.get("title"), block.get("source")) if type(part) is str and part]
    content = block.get("content")
    parts = content if type(content) is list else [{"text": content}]
    texts = (part.get("text") for part in parts if type(part) is dict)
    return titled("\n".join(head), "\n".join(t for t in texts if type(t) is str))


def reference_text(block: JsonObject) -> str:
    """A tool that a search for tools has found: other models are offered it from the beginning."""
    name = block.get("tool_name")
    return f"[tool found: {name}]" if type(name) is str else "[tool found]"


def browser_text(block: JsonObject) -> str:
    """A browser after a tool's call: its tabs and what has changed. Anthropic too shows the model a text."""
    state = {n: v for n, v in block.items() if n not in ("type", "cache_control") and v is not None}
    return f"[browser state] {orjson.dumps(state).decode()}"


def note_knobs(block: JsonObject, losses: Losses) -> None:
    """Note what a block carries beside its content, marks for a cache apart."""
    cited = block.get("citations")
    # A list: what an earlier answer cited. An object: whether the next one may.
    if cited.get("enabled") if type(cited) is dict else cited:
        losses.note("messages.content.citations")
    for name in ("transformations", "toolset_name"):
        if block.get(name):
            losses.note(f"messages.content.{name}")


def unknown_content(where: str, kind: Any) -> GatewayError:
    """The 400 for a block that has no words elsewhere."""
    named = f" ({kind})" if type(kind) is str and _FIELD_NAME.fullmatch(kind) else ""
    where = f"{where}.type"
    return bad_request(f"{where}: this type of content{named} cannot be sent to this model", where)


_IN_WORDS: Mapping[str, Callable[[JsonObject], str]] = {
    "search_result": search_text,
    "tool_reference": reference_text,
    "browser_state": browser_text,
}


def in_words(block: JsonObject, where: str) -> str:
    """A block of a tool's result that only has words elsewhere. GatewayError (400): it has none."""
    kind = block.get("type")
    said = _IN_WORDS.get(kind) if type(kind) is str else None
    if said is None:
        raise unknown_content(where, kind)
    return said(block)


# --- Answers that are none -----------------------------------------------------------------------------


def invalid_answer() -> GatewayError:
    """An upstream answer or event whose shape is not its dialect's."""
    return GatewayError(
        UPSTREAM_BAD,
        "The provider's answer is not of the expected form.",
        Detail(code="upstream_invalid_response"),
    )


def truncated_answer() -> GatewayError:
    """An upstream answer that ends without saying why. No reason is made up for it."""
    return GatewayError(
        UPSTREAM_BAD,
        "The provider's answer ended before it was complete.",
        Detail(code="upstream_truncated"),
    )
