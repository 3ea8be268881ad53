"""Responses to chat completions: the request's fields, each mapped, dropped by name, or refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dialects import schema
from dialects.capabilities import max_output_of
from dialects.chat import wrong_type
from dialects.errors import GatewayError, bad_request
from dialects.parts import EFFORTS, Losses, as_text, end_user, openai_effort
from dialects.responses_via_chat_turns import BRINGS_TOOLS, FREE_TEXT, NOT_KEPT, Conversation, Tools
from dialects.types import JsonObject, ModelFacts

# Limits of chat completions.
_USER_LIMIT = 64
_MOST_LOGPROBS = 20

# Fields of the same name and meaning on both sides.
_SAME = ("metadata", "user", "service_tier", "prompt_cache_key")
_KNOWN = frozenset(
    {
        "model", "input", "instructions", "stream", "max_output_tokens", "temperature", "top_p",
        "top_logprobs", "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning",
        "safety_identifier", "store", *_SAME,
        # They ask for nothing that could be lost: every answer holds what can be included, and a client
        # speaks of itself or of padding.
        "include", "client_metadata", "stream_options",
        # Refused unless they ask for nothing.
        "background", "previous_response_id", "conversation", "prompt",
    }
)  # fmt: skip
# Values that ask for what happens anyway.
_NEUTRAL: Mapping[str, Any] = {"truncation": "disabled"}
_LOGPROBS = "message.output_text.logprobs"
_TOOL_EXTRAS = ("defer_loading", "allowed_callers", "output_schema", "async")
# What keeps a request from being understood without the provider that holds its state, and what to do.
_STATE: Mapping[str, tuple[str, str]] = {
    "previous_response_id": (
        "neither this model's provider nor the gateway keeps responses: send all of it in 'input'",
        NOT_KEPT,
    ),
    "conversation": (
        "neither this model's provider nor the gateway keeps conversations: send all of it in 'input'",
        NOT_KEPT,
    ),
    "prompt": ("prompt templates are kept by their provider, which is not this model's", "unsupported_value"),
    "background": (
        "this model's provider answers at once and keeps no answer to be fetched later",
        "unsupported_value",
    ),
}


@dataclass(slots=True)
class Plan:
    """What the answer's reader must know of the request. `between`: another pair stands between this one and
    the provider, and understands more than chat completions can say."""

    between: bool = False
    tools: Tools = field(default_factory=Tools)
    losses: Losses = field(default_factory=Losses)
    origins: list[str] = field(default_factory=list)


class RequestBuilder:
    """Builds one body of chat completions."""

    def __init__(self, body: JsonObject, model: ModelFacts, caps: frozenset[str], plan: Plan) -> None:
        self._body = body
        self._model = model
        self._caps = caps
        self._plan = plan
        self._losses = plan.losses
        self._out: JsonObject = {"model": model.name}
        self._newer = "max_completion_tokens" in caps

    def build(self) -> JsonObject:
        for name, (why, code) in _STATE.items():
            if self._body.get(name):
                raise bad_request(f"'{name}': {why}.", name, code)
        self._conversation()
        self._cap()
        self._tools()
        self._reasoning()
        self._sampling()
        self._text()
        if self._body.get("stream"):
            self._out["stream"] = True
            # The gateway always wants usage, and the client's own dialect always gives it.
            self._out["stream_options"] = {"include_usage": True}
        self._who()
        self._losses.note_unknown(self._body, _KNOWN, _NEUTRAL)
        return self._out

    def _conversation(self) -> None:
        body = self._body
        conversation = Conversation(self._caps, self._plan.tools, self._losses, between=self._plan.between)
        if body.get("instructions"):
            conversation.add_instructions(body["instructions"])
        conversation.add_all(body["input"])
        if not conversation.messages:
            raise bad_request("'input' holds nothing to answer.", "input", "empty_array")
        self._out["messages"] = conversation.messages
        self._plan.origins = conversation.origins

    def _cap(self) -> None:
        cap = self._body.get("max_output_tokens")
        if cap is None:
            return
        most = self._model.max_output_tokens or max_output_of(self._model.name)
        if most and cap > most:
            # The provider would refuse it; every answer it could have given still fits.
            self._losses.note("max_output_tokens")
            cap = most
        self._out["max_completion_tokens" if self._newer else "max_tokens"] = cap

    # --- Tools ---

    def _tools(self) -> None:
        made: dict[str, JsonObject] = {}
        lost = False
        for where, tool, namespace in self._offered():
            if tool["type"] not in ("function", "custom"):
                # Its provider runs it itself, or has trained its models for it: it exists nowhere else.
                self._losses.note(f"tools.{tool['type']}")
                lost = True
                continue
            function = self._tool(tool, namespace, where)
            if function["name"] in made:
                if where.startswith("input"):
                    # Brought again by an item: it is offered already.
                    continue
                raise bad_request("Tool names must be unique.", where, "invalid_value")
            made[function["name"]] = {"type": "function", "function": function}
        choice = self._choice(made)
        if choice == "required" and lost and not made:
            raise bad_request(
                "'tool_choice' requires a call, and none of 'tools' exists at this model's provider.",
                "tool_choice",
                "unsupported_value",
            )
        if made:
            self._out["tools"] = list(made.values())
            if choice is not None:
                self._out["tool_choice"] = choice
            if self._body.get("parallel_tool_calls") is not None:
                self._out["parallel_tool_calls"] = self._body["parallel_tool_calls"]

    def _offered(self) -> Iterable[tuple[str, JsonObject, str]]:
        """Every tool with its place and namespace: those of the request, then those that items brought."""
        yield from _flat(self._body.get("tools") or [], "tools")
        given = self._body["input"]
        for index, item in enumerate(given if type(given) is list else ()):
            if item.get("type") in BRINGS_TOOLS:
                yield from _flat(item.get("tools"), f"input[{index}].tools")

    def _tool(self, tool: JsonObject, namespace: str, where: str) -> JsonObject:
        name = as_text(tool.get("name"), f"{where}.name")
        if not name:
            raise bad_request(
                f"Missing required parameter: '{where}.name'.", f"{where}.name", "missing_required_parameter"
            )
        for extra in _TOOL_EXTRAS:
            if tool.get(extra):
                self._losses.note(f"tools.{extra}")
        function: JsonObject = {"name": self._plan.tools.out(tool["type"], name, namespace)}
        description = as_text(tool.get("description"), f"{where}.description")
        if tool["type"] == "custom":
            return {**function, **self._free_text(tool.get("format"), description)}
        if description:
            function["description"] = description
        function["parameters"] = schema.as_object(tool.get("parameters"))
        if type(tool.get("strict")) is bool:
            function["strict"] = tool["strict"]
        return function

    def _free_text(self, form: Any, description: str) -> JsonObject:
        """A custom tool as a function of one text. A grammar is told, where it cannot be enforced."""
        words = [description] if description else []
        if type(form) is dict and form.get("type") == "grammar":
            self._losses.note("tools.format")
            syntax, definition = form.get("syntax"), form.get("definition")
            words.append(f"The input must match this {syntax} grammar:\n{definition}")
        text = {"type": "string", "description": "The whole input of the tool, as free text."}
        parameters = {
            "type": "object",
            "properties": {FREE_TEXT: text},
            "required": [FREE_TEXT],
            "additionalProperties": False,
        }
        described = {"description": "\n\n".join(words)} if words else {}
        return {**described, "parameters": parameters}

    def _choice(self, made: dict[str, JsonObject]) -> Any:
        """Chat's choice of tool. The tools that an `allowed_tools` leaves out are taken out of `made`."""
        wanted = self._body.get("tool_choice")
        if wanted is None:
            return None
        if type(wanted) is str:
            if wanted not in _CHOICES:
                raise _invalid_choice()
            return wanted
        if wanted.get("type") == "allowed_tools":
            mode, allowed = wanted.get("mode"), wanted.get("tools")
            if mode not in ("auto", "required") or type(allowed) is not list:
                raise _invalid_choice()
            left = [self._named(tool, made) for tool in allowed]
            for name in set(made).difference(left):
                del made[name]
            return mode
        return {"type": "function", "function": {"name": self._named(wanted, made)}}

    def _named(self, wanted: Any, made: dict[str, JsonObject]) -> str:
        """The function's name for a tool that a choice names."""
        if type(wanted) is not dict or wanted.get("type") not in ("function", "custom"):
            raise bad_request(
                "'tool_choice' names a tool that is run by its provider and does not exist at this model's.",
                "tool_choice",
                "unsupported_value",
            )
        name, namespace = wanted.get("name"), wanted.get("namespace")
        for safe in made:
            kind, own, space = self._plan.tools.back(safe)
            if kind == wanted["type"] and own == name and namespace in (None, space):
                return safe
        raise bad_request(
            "'tool_choice' names a tool that is not in 'tools'.", "tool_choice", "invalid_value"
        )

    # --- Reasoning and sampling ---

    def _reasoning(self) -> None:
        effort = self._effort()
        with_tools = "tools" in self._out and "reasoning_with_tools" not in self._caps
        if self._plan.between:
            sent = effort
        elif "reasoning" not in self._caps:
            sent = None
        elif with_tools:
            # These models take tools over chat completions only without reasoning, and must be told so.
            sent = "none"
        else:
            sent = openai_effort(effort, self._caps) if effort else None
        if sent is not None:
            self._out["reasoning_effort"] = sent
        if effort not in (None, "none") and sent in (None, "none"):
            self._losses.note("reasoning.effort")
        elif effort == "none" and sent is None and "reasoning" in self._caps:
            # A model that cannot but reason.
            self._losses.note("reasoning.effort")

    def _effort(self) -> str | None:
        given = self._body.get("reasoning") or {}
        for name in given:
            if name not in ("effort", "summary", "generate_summary") and given[name] is not None:
                self._losses.note(f"reasoning.{name}")
        effort = given.get("effort")
        if effort is not None and effort not in EFFORTS:
            raise bad_request(
                f"Invalid value for 'reasoning.effort'. Supported values are: {', '.join(EFFORTS)}.",
                "reasoning.effort",
                "invalid_value",
            )
        return effort

    def _sampling(self) -> None:
        for name, most in (("temperature", 2), ("top_p", 1)):
            value = self._body.get(name)
            if value is None:
                continue
            if not 0 <= value <= most:
                raise bad_request(
                    f"Invalid '{name}': expected a value between 0 and {most}.", name, "invalid_value"
                )
            if "sampling" in self._caps:
                self._out[name] = value
            elif value != 1:
                self._losses.note(name)
        self._logprobs()

    def _logprobs(self) -> None:
        top = self._body.get("top_logprobs") or 0
        if not 0 <= top <= _MOST_LOGPROBS:
            raise bad_request(
                f"Invalid 'top_logprobs': expected a value between 0 and {_MOST_LOGPROBS}.",
                "top_logprobs",
                "invalid_value",
            )
        if not top and _LOGPROBS not in (self._body.get("include") or ()):
            return
        if "sampling" not in self._caps:
            self._losses.note("top_logprobs")
            return
        self._out["logprobs"] = True
        self._out["top_logprobs"] = top

    # --- The rest ---

    def _text(self) -> None:
        text = self._body.get("text") or {}
        for name in text:
            if name not in ("format", "verbosity") and text[name] is not None:
                self._losses.note(f"text.{name}")
        verbosity = text.get("verbosity")
        if verbosity is not None:
            if verbosity not in ("low", "medium", "high"):
                raise bad_request("Invalid value for 'text.verbosity'.", "text.verbosity", "invalid_value")
            # Only OpenAI's models that reason know how; to the others the middle is all there is.
            if self._plan.between or {"reasoning", "max_completion_tokens"} <= self._caps:
                self._out["verbosity"] = verbosity
            elif verbosity != "medium":
                self._losses.note("text.verbosity")
        form = text.get("format")
        if form is not None:
            self._format(form)

    def _format(self, form: JsonObject) -> None:
        kind = form.get("type")
        if kind == "json_schema":
            shape = form.get("schema")
            if type(shape) is not dict:
                raise wrong_type("text.format.schema", "an object", shape)
            named: JsonObject = {"name": as_text(form.get("name"), "text.format.name") or "output"}
            for name in ("description", "schema", "strict"):
                if form.get(name) is not None:
                    named[name] = form[name]
            self._out["response_format"] = {"type": kind, "json_schema": named}
        elif kind == "json_object":
            self._out["response_format"] = {"type": kind}
        elif kind not in (None, "text"):
            raise bad_request("Invalid value for 'text.format.type'.", "text.format.type", "invalid_value")

    def _who(self) -> None:
        for name in _SAME:
            if self._body.get(name):
                self._out[name] = self._body[name]
        identifier = self._body.get("safety_identifier")
        if identifier:
            fits = len(identifier) <= _USER_LIMIT
            self._out["safety_identifier"] = identifier if fits else end_user(identifier, _USER_LIMIT)
        if self._body.get("store"):
            # Nothing is kept: the answer says so too.
            self._losses.note("store")


def echo(body: JsonObject) -> JsonObject:
    """What a response repeats of its request, with the values that hold where the client gave none."""
    text = body.get("text") or {}
    reasoning = body.get("reasoning") or {}
    return {
        "background": False,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": None,
        "metadata": body.get("metadata") or {},
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "safety_identifier": body.get("safety_identifier"),
        "store": False,
        "temperature": body.get("temperature"),
        "text": {
            "format": text.get("format") or {"type": "text"},
            "verbosity": text.get("verbosity") or "medium",
        },
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_logprobs": body.get("top_logprobs") or 0,
        "top_p": body.get("top_p"),
        "truncation": "disabled",
        "user": body.get("user"),
    }


_CHOICES = ("none", "auto", "required")


def _flat(tools: Any, where: str) -> Iterable[tuple[str, JsonObject, str]]:
    """Tools with their places, those within a namespace one by one."""
    if type(tools) is not list:
        raise wrong_type(where, "an array of objects", tools)
    for index, tool in enumerate(tools):
        at = f"{where}[{index}]"
        if type(tool) is not dict or type(tool.get("type")) is not str:
            raise wrong_type(at, "an object with a type", tool)
        if tool["type"] != "namespace":
            yield at, tool, ""
            continue
        inner = tool.get("tools")
        if type(inner) is not list:
            raise wrong_type(f"{at}.tools", "an array of objects", inner)
        for place, one in enumerate(inner):
            if type(one) is not dict or one.get("type") not in ("function", "custom"):
                raise wrong_type(f"{at}.tools[{place}]", "a tool of type 'function' or 'custom'", one)
            yield f"{at}.tools[{place}]", one, as_text(tool.get("name"), f"{at}.name")


def _invalid_choice() -> GatewayError:
    return bad_request("Invalid value for 'tool_choice'.", "tool_choice", "invalid_value")
