"""Chat completions to responses: the request's fields and messages, each mapped, dropped or refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dialects import schema
from dialects.capabilities import max_output_of
from dialects.chat import wrong_type
from dialects.errors import GatewayError, bad_request
from dialects.parts import EFFORTS, Losses, as_text, data_url, is_web_url, openai_effort, openai_id, unsealed
from dialects.types import JsonObject, ModelFacts

# The least that responses take as a cap, and the longest id of a call.
_MIN_CAP = 16
_ID_LIMIT = 64
_SAME = (
    "metadata",
    "user",
    "safety_identifier",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
)
_KNOWN = frozenset(
    {
        "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "n", "tools",
        "tool_choice", "parallel_tool_calls", "functions", "function_call", "response_format",
        "reasoning_effort", "reasoning_summary", "web_search_options", "verbosity", "logprobs",
        "top_logprobs", "stream", "stream_options", "store", "modalities", "audio", *_SAME,
    }
)  # fmt: skip
# Values that ask for what happens anyway.
_NEUTRAL: Mapping[str, Any] = {"frequency_penalty": 0, "presence_penalty": 0, "logit_bias": {}}
_CHOICES = ("none", "auto", "required")
_SUMMARIES = ("auto", "concise", "detailed")
# What there is of reasoning that a client sends back.
_REASONING = ("type", "id", "summary", "encrypted_content")


class RequestBuilder:
    """Builds one body of responses. `functions`: the client speaks of the older `functions`."""

    def __init__(self, body: JsonObject, model: ModelFacts, caps: frozenset[str], losses: Losses) -> None:
        self._body = body
        self._model = model
        self._caps = caps
        self._losses = losses
        self._out: JsonObject = {"model": model.name}
        self.functions = bool(body.get("functions")) and not body.get("tools")

    def build(self) -> JsonObject:
        self._refuse()
        self._out["input"] = Items(self._losses).read(self._body["messages"])
        self._cap()
        self._tools()
        self._reasoning()
        self._sampling()
        self._text()
        # Chat completions are not kept unless asked. What is not kept must be sent back: the reasoning too.
        self._out["store"] = self._body.get("store") is True
        for name in _SAME:
            if self._body.get(name):
                self._out[name] = self._body[name]
        if self._body.get("stream"):
            self._out["stream"] = True
        self._losses.note_unknown(self._body, _KNOWN, _NEUTRAL)
        return self._out

    def _refuse(self) -> None:
        body = self._body
        n = body.get("n")
        if n is not None and n != 1:
            raise bad_request(
                "This model gives one answer per request: 'n' must be 1.", "n", "unsupported_value"
            )
        modalities = body.get("modalities")
        if body.get("audio") is not None or (type(modalities) is list and "audio" in modalities):
            raise bad_request("This model cannot answer with audio.", "modalities", "unsupported_value")

    def _cap(self) -> None:
        name = "max_tokens" if self._body.get("max_completion_tokens") is None else "max_completion_tokens"
        cap = self._body.get(name)
        if cap is None:
            return
        most = self._model.max_output_tokens or max_output_of(self._model.name)
        if cap < _MIN_CAP or (most and cap > most):
            self._losses.note(name)
            cap = _MIN_CAP if cap < _MIN_CAP else most
        self._out["max_output_tokens"] = cap

    # --- Tools

    def _tools(self) -> None:
        name = "functions" if self.functions else "tools"
        tools = [self._tool(t, f"{name}[{i}]") for i, t in enumerate(self._body.get(name) or ())]
        search = self._body.get("web_search_options")
        if search is not None:
            tools.append(_web_search(search))
        if not tools:
            return
        wanted = self._body.get("function_call" if self.functions else "tool_choice")
        self._out["tools"] = tools
        if wanted is not None:
            self._out["tool_choice"] = self._choice(wanted)
        if self._body.get("parallel_tool_calls") is not None:
            self._out["parallel_tool_calls"] = self._body["parallel_tool_calls"]

    def _tool(self, tool: JsonObject, where: str) -> JsonObject:
        kind = "function" if self.functions else tool.get("type")
        given = tool if self.functions else tool.get(kind) if type(kind) is str else None
        if kind not in ("function", "custom") or type(given) is not dict:
            raise bad_request(
                f"'{where}': only tools of type 'function' and 'custom' can be sent to this model.",
                f"{where}.type",
                "unsupported_value",
            )
        if tool.get("cache_control") is not None:
            self._losses.note("cache_control")
        made: JsonObject = {"type": kind, "name": _name(given, where)}
        if given.get("description") is not None:
            made["description"] = as_text(given["description"], f"{where}.description")
        if kind == "function":
            made["parameters"] = schema.as_object(given.get("parameters"))
            # Responses are strict unless told not to be, chat the other way round.
            made["strict"] = given.get("strict") is True
        elif type(given.get("format")) is dict:
            grammar = given["format"].get("grammar")
            inner = grammar if type(grammar) is dict else {}
            made["format"] = {"type": given["format"].get("type"), **inner}
        return made

    def _choice(self, wanted: Any) -> Any:
        if type(wanted) is str and wanted in _CHOICES:
            return wanted
        if type(wanted) is dict and self.functions:
            return {"type": "function", "name": _name(wanted, "function_call")}
        if type(wanted) is dict:
            kind = wanted.get("type")
            given = wanted.get(kind) if type(kind) is str else None
            if kind in ("function", "custom") and type(given) is dict:
                return {"type": kind, "name": _name(given, "tool_choice")}
            if kind == "allowed_tools" and type(given) is dict and type(given.get("tools")) is list:
                tools = [self._choice(tool) for tool in given["tools"]]
                return {"type": kind, "mode": given.get("mode") or "auto", "tools": tools}
        raise bad_request("Invalid value for 'tool_choice'.", "tool_choice", "invalid_value")

    # --- Reasoning, sampling, text

    def _reasoning(self) -> None:
        effort = self._body.get("reasoning_effort")
        if effort is not None and (type(effort) is not str or effort not in EFFORTS):
            raise bad_request(
                f"Invalid value for 'reasoning_effort'. Supported values are: {', '.join(EFFORTS)}.",
                "reasoning_effort",
                "invalid_value",
            )
        summary = self._body.get("reasoning_summary")
        if "reasoning" not in self._caps:
            if effort not in (None, "none"):
                self._losses.note("reasoning_effort")
            if summary is not None:
                self._losses.note("reasoning_summary")
            return
        self._out["include"] = ["reasoning.encrypted_content"]
        nearest = openai_effort(effort, self._caps) if effort is not None else None
        reasoning: JsonObject = {}
        if nearest is not None:
            reasoning["effort"] = nearest
        elif effort is not None:
            self._losses.note("reasoning_effort")
        if summary is not None:
            # Not a field of chat completions; what other programs call it that offer it there.
            reasoning["summary"] = _summary(summary)
        if reasoning:
            self._out["reasoning"] = reasoning

    def _sampling(self) -> None:
        for name, most in (("temperature", 2), ("top_p", 1)):
            value = self._body.get(name)
            if value is None:
                continue
            if type(value) not in (int, float):
                raise wrong_type(name, "a decimal", value)
            if not 0 <= value <= most:
                raise bad_request(
                    f"Invalid '{name}': expected a value between 0 and {most}.", name, "invalid_value"
                )
            if "sampling" in self._caps:
                self._out[name] = value
            elif value != 1:
                self._losses.note(name)
        if not self._body.get("logprobs"):
            return
        if "sampling" not in self._caps:
            self._losses.note("logprobs")
            return
        self._out.setdefault("include", []).append("message.output_text.logprobs")
        if self._body.get("top_logprobs"):
            self._out["top_logprobs"] = self._body["top_logprobs"]

    def _text(self) -> None:
        text: JsonObject = {}
        wanted = self._body.get("response_format")
        if wanted is not None:
            text["format"] = _format(wanted)
        if self._body.get("verbosity") is not None:
            text["verbosity"] = self._body["verbosity"]
        if text:
            self._out["text"] = text


def _web_search(options: Any) -> JsonObject:
    """What chat completions have as an option is a tool here."""
    given = options if type(options) is dict else {}
    tool: JsonObject = {"type": "web_search"}
    for name in ("search_context_size", "filters"):
        if given.get(name):
            tool[name] = given[name]
    place = given.get("user_location")
    if type(place) is dict and type(place.get("approximate")) is dict:
        tool["user_location"] = {"type": "approximate", **place["approximate"]}
    return tool


def _summary(wanted: Any) -> str:
    if type(wanted) is not str or wanted not in _SUMMARIES:
        raise bad_request(
            f"Invalid value for 'reasoning_summary'. Supported values are: {', '.join(_SUMMARIES)}.",
            "reasoning_summary",
            "invalid_value",
        )
    return wanted


def _format(wanted: JsonObject) -> JsonObject:
    kind = wanted.get("type")
    given = wanted.get("json_schema")
    if kind == "json_schema" and type(given) is dict:
        known = ("name", "description", "schema", "strict")
        return {"type": kind, **{name: given[name] for name in known if given.get(name) is not None}}
    if kind in ("text", "json_object"):
        return {"type": kind}
    raise bad_request("Invalid 'response_format'.", "response_format", "invalid_value")


class Items:
    """A conversation's messages as items."""

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._items: list[JsonObject] = []
        self._custom: set[str] = set()
        self._function_calls = 0
        self._readers: Mapping[str, Callable[[JsonObject, str], None]] = {
            "system": self._add_said,
            "developer": self._add_said,
            "user": self._add_said,
            "assistant": self._add_assistant,
            "tool": self._add_output,
            "function": self._add_output,
        }

    def read(self, messages: list[JsonObject]) -> list[JsonObject]:
        for index, message in enumerate(messages):
            if message.get("name") is not None and message["role"] not in ("function", "tool"):
                self._losses.note("messages.name")
            content = message.get("content")
            holders = [message, *(content if type(content) is list else ())]
            if any(holder.get("cache_control") is not None for holder in holders):
                # The mark of another family; the own one, prompt_cache_breakpoint, travels.
                self._losses.note("cache_control")
            self._readers[message["role"]](message, f"messages[{index}]")
        return self._items

    def _add_said(self, message: JsonObject, where: str) -> None:
        content = message.get("content")
        if type(content) is list:
            content = [_part(part, f"{where}.content[{i}]") for i, part in enumerate(content)]
        self._items.append({"type": "message", "role": message["role"], "content": content or ""})

    def _add_assistant(self, message: JsonObject, where: str) -> None:
        if message.get("audio") is not None:
            self._losses.note("messages.audio")
        self._add_reasoning(message)
        parts: list[JsonObject] = []
        content = message.get("content")
        if type(content) is str and content:
            parts.append({"type": "output_text", "text": content, "annotations": []})
        for index, part in enumerate(content if type(content) is list else ()):
            kind = part.get("type")
            if kind not in ("text", "refusal"):
                raise _unsupported(f"{where}.content[{index}].type", "an assistant's message is text here")
            text = as_text(part.get(kind), f"{where}.content[{index}].{kind}")
            parts.append(_said(kind, text))
        refusal = as_text(message.get("refusal"), f"{where}.refusal")
        if refusal:
            parts.append(_said("refusal", refusal))
        if parts:
            self._items.append({"type": "message", "role": "assistant", "content": parts})
        for index, call in enumerate(message.get("tool_calls") or ()):
            self._add_call(call, f"{where}.tool_calls[{index}]")
        legacy = message.get("function_call")
        if type(legacy) is dict:
            self._function_calls += 1
            call = {"id": f"call_{self._function_calls}", "type": "function", "function": legacy}
            self._add_call(call, f"{where}.function_call")

    def _add_reasoning(self, message: JsonObject) -> None:
        """Reasoning that this provider sealed and the gateway handed out as signed thinking."""
        given = message.get("thinking_blocks")
        blocks = given if type(given) is list else []
        found = [unsealed(b.get("signature")) for b in blocks if type(b) is dict]
        items = [item for item in found if item is not None and item.get("type") == "reasoning"]
        self._items += [{name: item[name] for name in _REASONING if name in item} for item in items]
        if len(items) < len(blocks) or (
            not blocks and (message.get("reasoning_content") or message.get("reasoning"))
        ):
            self._losses.note("messages.reasoning_content")

    def _add_call(self, call: JsonObject, where: str) -> None:
        call_id = as_text(call.get("id"), f"{where}.id")
        if not call_id:
            raise _missing(f"{where}.id")
        custom = call.get("custom")
        if type(custom) is dict:
            self._custom.add(call_id)
            made = {
                "type": "custom_tool_call",
                "input": as_text(custom.get("input"), f"{where}.custom.input"),
            }
            self._items.append({**made, "call_id": _short(call_id), "name": _name(custom, f"{where}.custom")})
            return
        function = call.get("function")
        if type(function) is not dict:
            raise _missing(f"{where}.function")
        arguments = as_text(function.get("arguments"), f"{where}.function.arguments")
        made = {"type": "function_call", "arguments": arguments or "{}"}
        self._items.append({**made, "call_id": _short(call_id), "name": _name(function, f"{where}.function")})

    def _add_output(self, message: JsonObject, where: str) -> None:
        call_id = f"call_{self._function_calls}"
        if message["role"] == "tool":
            call_id = as_text(message.get("tool_call_id"), f"{where}.tool_call_id")
            if not call_id:
                raise _missing(f"{where}.tool_call_id")
        content = message.get("content")
        if type(content) is list:
            content = [_part(part, f"{where}.content[{i}]") for i, part in enumerate(content)]
        kind = "custom_tool_call_output" if call_id in self._custom else "function_call_output"
        self._items.append({"type": kind, "call_id": _short(call_id), "output": content or ""})


def _short(call_id: str) -> str:
    return openai_id(call_id) if len(call_id) > _ID_LIMIT else call_id


def _said(kind: str, text: str) -> JsonObject:
    if kind == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": []}


def _part(part: JsonObject, where: str) -> JsonObject:
    kind = part.get("type")
    made: JsonObject
    if kind == "text":
        made = {"type": "input_text", "text": as_text(part.get("text"), f"{where}.text")}
    elif kind == "image_url":
        made = _image(part.get("image_url"), where)
    elif kind == "file":
        made = _file(part.get("file"), where)
    else:
        raise _unsupported(f"{where}.type", "this type of content cannot be sent to this model")
    if part.get("prompt_cache_breakpoint") is not None:
        made["prompt_cache_breakpoint"] = part["prompt_cache_breakpoint"]
    return made


def _image(holder: Any, where: str) -> JsonObject:
    # Some clients send the address itself.
    given = holder if type(holder) is dict else {"url": holder}
    url = given.get("url")
    if type(url) is not str or not (is_web_url(url) or data_url(url)):
        raise bad_request(
            f"'{where}.image_url.url' must be a web address or a base64 data: URL.",
            f"{where}.image_url.url",
            "invalid_image_url",
        )
    return {"type": "input_image", "image_url": url, "detail": given.get("detail") or "auto"}


def _file(file: Any, where: str) -> JsonObject:
    known = ("filename", "file_data", "file_id", "file_url")
    made = {name: file[name] for name in known if file.get(name)} if type(file) is dict else {}
    if not any(name in made for name in known[1:]):
        raise _missing(f"{where}.file.file_data")
    if "file_data" in made:
        made.setdefault("filename", "document.pdf")
    return {"type": "input_file", **made}


def _name(holder: JsonObject, where: str) -> str:
    name = as_text(holder.get("name"), f"{where}.name")
    if not name:
        raise _missing(f"{where}.name")
    return name


def _missing(where: str) -> GatewayError:
    return bad_request(f"Missing required parameter: '{where}'.", where, "missing_required_parameter")


def _unsupported(param: str, what: str) -> GatewayError:
    return bad_request(f"'{param}': {what}.", param, "unsupported_content")
