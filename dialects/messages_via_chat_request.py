"""Anthropic's messages to chat completions: the request, each field mapped, dropped by name, or refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dialects import schema
from dialects.capabilities import max_output_of
from dialects.errors import GatewayError, bad_request
from dialects.parts import (
    EFFORTS,
    Losses,
    Media,
    ToolNames,
    effort_for,
    end_user,
    image_type,
    in_words,
    is_web_url,
    note_knobs,
    openai_effort,
    openai_id,
    search_text,
    titled,
    tool_arguments,
    unknown_content,
    unsealed,
)
from dialects.types import JsonObject, ModelFacts

# OpenAI's limits.
_STOPS = 4
_NAME_LIMIT = 64
_USER_LIMIT = 64
# The first block of one agent's instructions: it changes with every request and would spoil prefix caching.
_BILLING = "x-anthropic-billing-header:"
_IMAGE_BELOW = "[image attached below]"

_KNOWN = frozenset(
    {
        "model", "messages", "system", "max_tokens", "temperature", "top_p", "stop_sequences", "stream",
        "tools", "tool_choice", "thinking", "output_config", "output_format", "metadata", "service_tier",
    }
)  # fmt: skip
_TIERS = {"auto": "auto", "standard_only": "default"}
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
# What a tool's definition may carry and chat completions cannot; each tunes, none changes the tool.
_TOOL_EXTRAS = (
    "cache_control",
    "eager_input_streaming",
    "defer_loading",
    "allowed_callers",
    "input_examples",
)
_PLACE = ("city", "country", "region", "timezone")
_SEARCH_EXTRAS = ("max_uses", "blocked_domains", "cache_control")


@dataclass(slots=True)
class Plan:
    """What the answer's reader must know of the request: the names given to tools. `between`: another pair
    stands between this one and the provider, and takes sealed thinking and an effort for any model."""

    between: bool = False
    names: ToolNames = field(default_factory=lambda: ToolNames(_NAME_LIMIT))
    losses: Losses = field(default_factory=Losses)


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
        conversation = Conversation(self._caps, self._plan)
        conversation.add_system(self._body.get("system"))
        conversation.add_all(self._body["messages"])
        self._out["messages"] = conversation.messages
        self._cap()
        self._tools()
        self._reasoning()
        self._sampling()
        self._format()
        if self._body.get("stream"):
            self._out["stream"] = True
            # The gateway always wants usage, and the client's own dialect always gives it.
            self._out["stream_options"] = {"include_usage": True}
        self._who()
        self._losses.note_unknown(self._body, _KNOWN, {})
        return self._out

    def _cap(self) -> None:
        cap = self._body["max_tokens"]
        if cap == 0:
            # It only warms a cache, which the provider cannot be asked for, so the gateway answers by itself.
            # What is made here is a valid request all the same.
            self._losses.note("max_tokens")
            cap = 1
        most = self._model.max_output_tokens or max_output_of(self._model.name)
        if most and cap > most:
            # The provider would refuse it; every answer it could have given still fits.
            self._losses.note("max_tokens")
            cap = most
        self._out["max_completion_tokens" if self._newer else "max_tokens"] = cap

    # --- Tools ---

    def _tools(self) -> None:
        given = self._body.get("tools") or []
        choice = self._body.get("tool_choice")
        if choice is not None and type(choice) is not dict:
            raise _field("tool_choice", "Input should be a valid dictionary")
        forced = choice.get("name") if choice and choice.get("type") == "tool" else None
        tools = []
        for index, tool in enumerate(given):
            kind = tool.get("type")
            if self._plan.between and forced is None and str(kind).startswith("web_search_"):
                self._web_search(tool)
                continue
            if kind not in (None, "custom"):
                self._server_tool(tool, index, forced=forced)
                continue
            tools.append(self._tool(tool, f"tools.{index}"))
        if tools:
            self._out["tools"] = tools
        elif "web_search_options" not in self._out:
            if given:
                raise _server_tools(0)
            return
        if choice:
            self._choice(choice)

    def _server_tool(self, tool: JsonObject, index: int, *, forced: Any) -> None:
        """A tool that Anthropic runs itself: it exists nowhere else."""
        if forced is not None and tool.get("name") == forced:
            raise _server_tools(index)
        self._losses.note("tools.type")

    def _web_search(self, tool: JsonObject) -> None:
        """Both search by themselves; the answer has the text and says nothing of the searches."""
        options: JsonObject = {}
        place = tool.get("user_location")
        if type(place) is dict:
            near = {name: place[name] for name in _PLACE if place.get(name)}
            options["user_location"] = {"type": "approximate", "approximate": near}
        if tool.get("allowed_domains"):
            options["filters"] = {"allowed_domains": tool["allowed_domains"]}
        for name in _SEARCH_EXTRAS:
            if tool.get(name) is not None:
                self._losses.note(f"tools.{name}")
        self._out["web_search_options"] = options

    def _tool(self, tool: JsonObject, where: str) -> JsonObject:
        name = tool.get("name")
        if type(name) is not str or not name:
            raise _field(
                f"{where}.name", "Field required" if name is None else "Input should be a valid string"
            )
        function: JsonObject = {"name": self._plan.names.out(name)}
        description = tool.get("description")
        if description is not None:
            if type(description) is not str:
                raise _field(f"{where}.description", "Input should be a valid string")
            function["description"] = description
        function["parameters"] = schema.as_object(tool.get("input_schema"))
        if tool.get("strict") is True:
            if schema.is_strict(function["parameters"]):
                function["strict"] = True
            else:
                self._losses.note("tools.strict")
        for extra in _TOOL_EXTRAS:
            if tool.get(extra) is not None:
                self._losses.note(f"tools.{extra}")
        return {"type": "function", "function": function}

    def _choice(self, choice: JsonObject) -> None:
        kind = choice.get("type")
        name = choice.get("name")
        if kind == "tool" and type(name) is str and name:
            self._out["tool_choice"] = {"type": "function", "function": {"name": self._plan.names.out(name)}}
        elif type(kind) is str and kind in _CHOICES:
            self._out["tool_choice"] = _CHOICES[kind]
        else:
            raise _field("tool_choice.type", "Input should be 'auto', 'any', 'tool' or 'none'")
        if choice.get("disable_parallel_tool_use") is True and kind != "none":
            self._out["parallel_tool_calls"] = False

    # --- Reasoning and sampling ---

    def _reasoning(self) -> None:
        effort, source = self._wanted_effort()
        if self._plan.between:
            if effort is not None:
                self._out["reasoning_effort"] = effort
            if self._is_shown():
                self._out["reasoning_summary"] = "auto"
            return
        with_tools = "tools" in self._out and "reasoning_with_tools" not in self._caps
        if "reasoning" in self._caps and with_tools:
            # These models take tools over chat completions only without reasoning, and must be told so.
            self._out["reasoning_effort"] = "none"
            if effort not in (None, "none"):
                self._losses.note(source)
            return
        if effort is None:
            return
        if "reasoning" not in self._caps:
            if effort != "none":
                self._losses.note(source)
            return
        nearest = openai_effort(effort, self._caps)
        if nearest is None:
            self._losses.note(source)
        else:
            self._out["reasoning_effort"] = nearest

    def _wanted_effort(self) -> tuple[str | None, str]:
        """The effort asked for and the field that asked."""
        config = self._body.get("output_config") or {}
        effort = config.get("effort")
        if effort is not None and (type(effort) is not str or effort not in EFFORTS):
            raise _field("output_config.effort", "Input should be 'low', 'medium', 'high', 'xhigh' or 'max'")
        thinking = self._body.get("thinking")
        if thinking is None:
            return effort, "output_config.effort"
        if type(thinking) is not dict:
            raise _field("thinking", "Input should be a valid dictionary")
        kind = thinking.get("type")
        if kind == "disabled":
            return "none", "thinking"
        if kind == "enabled":
            tokens = thinking.get("budget_tokens")
            if type(tokens) is not int:
                raise _field("thinking.enabled.budget_tokens", "Input should be a valid integer")
            return effort or effort_for(tokens), "thinking"
        return effort or "medium", "thinking"

    def _is_shown(self) -> bool:
        """True where Anthropic would show what was thought, which OpenAI does only when asked."""
        thinking = self._body.get("thinking")
        if not thinking or thinking.get("type") == "disabled":
            return False
        usual = "summarized" if thinking.get("type") == "enabled" else "omitted"
        return (thinking.get("display") or usual) == "summarized"

    def _sampling(self) -> None:
        for name, most in (("temperature", 1), ("top_p", 1)):
            value = self._body.get(name)
            if value is None:
                continue
            if type(value) not in (int, float):
                raise _field(name, "Input should be a valid number")
            if not 0 <= value <= most:
                raise _field(name, f"Input should be between 0 and {most}")
            if "sampling" in self._caps:
                self._out[name] = value
            elif value != 1:
                self._losses.note(name)
        self._stop()

    def _stop(self) -> None:
        stops = self._body.get("stop_sequences")
        if stops is None:
            return
        if type(stops) is not list or not all(type(s) is str for s in stops):
            raise _field("stop_sequences", "Input should be a valid list of strings")
        if not stops:
            return
        if "sampling" not in self._caps:
            self._losses.note("stop_sequences")
            return
        if len(stops) > _STOPS:
            self._losses.note("stop_sequences")
        self._out["stop"] = stops[:_STOPS]

    # --- The rest ---

    def _format(self) -> None:
        config = self._body.get("output_config") or {}
        wanted = config.get("format") or self._body.get("output_format")
        if not wanted:
            return
        shape = wanted.get("schema") if type(wanted) is dict else None
        if type(shape) is not dict:
            raise _field("output_config.format.schema", "Input should be a valid dictionary")
        form: JsonObject = {"name": "output", "schema": shape}
        if schema.is_strict(shape):
            form["strict"] = True
        self._out["response_format"] = {"type": "json_schema", "json_schema": form}

    def _who(self) -> None:
        metadata = self._body.get("metadata") or {}
        user = metadata.get("user_id")
        if user:
            self._out["user"] = end_user(user, _USER_LIMIT)
        tier = self._body.get("service_tier")
        if tier is not None:
            if type(tier) is str and tier in _TIERS:
                self._out["service_tier"] = _TIERS[tier]
            else:
                self._losses.note("service_tier")


@dataclass(slots=True)
class _Said:
    """What the assistant says in one message of OpenAI's."""

    thoughts: list[JsonObject] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    calls: list[JsonObject] = field(default_factory=list)


class Conversation:
    """OpenAI's messages as they grow."""

    def __init__(self, caps: frozenset[str], plan: Plan) -> None:
        self.messages: list[JsonObject] = []
        self._names = plan.names
        self._losses = plan.losses
        self._between = plan.between
        self._instructor = "developer" if "max_completion_tokens" in caps else "system"
        self._marks = "cache_breakpoints" in caps

    def add_system(self, system: Any) -> None:
        if type(system) is list:
            system = [b for b in system if not _is_billing(b)]
        if system:
            self._instruct(system, "system")

    def add_all(self, messages: list[JsonObject]) -> None:
        for index, message in enumerate(messages):
            where = f"messages.{index}.content"
            role, content = message["role"], message["content"]
            if role == "system":
                self._instruct(content, where)
            elif role == "user":
                self._add_user(content, where)
            else:
                self._add_assistant(content, where)
        if messages[-1]["role"] == "assistant":
            # The provider will answer it, not continue it.
            self._losses.note("prefill")

    def _instruct(self, content: Any, where: str) -> None:
        if type(content) is str:
            self.messages.append({"role": self._instructor, "content": content})
            return
        parts = []
        for index, block in enumerate(content):
            if block.get("type") != "text":
                raise _field(f"{where}.{index}.type", "Input should be 'text'")
            parts.append(self._marked({"type": "text", "text": block["text"]}, block))
        if any("prompt_cache_breakpoint" in part for part in parts):
            self.messages.append({"role": self._instructor, "content": parts})
        elif parts:
            text = "\n\n".join(part["text"] for part in parts)
            self.messages.append({"role": self._instructor, "content": text})

    def _marked(self, part: JsonObject, block: JsonObject) -> JsonObject:
        if block.get("cache_control") is not None:
            if self._marks:
                part["prompt_cache_breakpoint"] = {"mode": "explicit"}
            else:
                self._losses.note("cache_control")
        return part

    # --- User ---

    def _add_user(self, content: Any, where: str) -> None:
        if type(content) is str:
            self.messages.append({"role": "user", "content": content})
            return
        # Results first, in order: OpenAI wants them directly after the calls.
        parts: list[JsonObject] = []
        pictures: list[JsonObject] = []
        for index, block in enumerate(content):
            if block["type"] == "tool_result":
                self._add_result(block, f"{where}.{index}", pictures)
            else:
                parts += self._parts(block, f"{where}.{index}")
        parts = pictures + parts
        if not parts and content and content[-1]["type"] == "tool_result":
            return
        self.messages.append({"role": "user", "content": _simplest(parts)})

    def _parts(self, block: JsonObject, where: str) -> list[JsonObject]:
        kind = block["type"]
        note_knobs(block, self._losses)
        if kind == "text":
            return [self._marked({"type": "text", "text": block["text"]}, block)]
        if kind == "image":
            return [self._marked(self._image(block, where), block)]
        if kind == "document":
            return [self._marked(part, block) for part in self._document(block, where)]
        if kind == "search_result":
            return [self._marked({"type": "text", "text": search_text(block)}, block)]
        raise unknown_content(where, kind)

    def _image(self, block: JsonObject, where: str) -> JsonObject:
        source = _source(block, where)
        kind, url, data = source.get("type"), source.get("url"), source.get("data")
        if kind == "url" and type(url) is str and is_web_url(url):
            return {"type": "image_url", "image_url": {"url": url}}
        if kind == "base64" and type(data) is str:
            media = image_type(Media(_word(source.get("media_type"), where), data))
            return {"type": "image_url", "image_url": {"url": f"data:{media};base64,{data}"}}
        raise _field(f"{where}.source", "an image must be base64 data or a web address; files do not travel")

    def _document(self, block: JsonObject, where: str) -> list[JsonObject]:
        source = _source(block, where)
        kind, data = source.get("type"), source.get("data")
        title = block.get("title")
        if type(title) is not str or not title:
            title = ""
        context = block.get("context")
        context = context if type(context) is str else ""
        if kind == "text" and type(data) is str:
            return [{"type": "text", "text": titled(title, titled(context, data))}]
        if kind == "content":
            head = "\n\n".join(filter(None, (title, context)))
            inner = self._inner(source.get("content"), f"{where}.source.content")
            return [{"type": "text", "text": head}, *inner] if head else inner
        if context:
            self._losses.note("messages.content.context")
        if kind == "base64" and type(data) is str and source.get("media_type") == "application/pdf":
            file = {"filename": title or "document.pdf", "file_data": f"data:application/pdf;base64,{data}"}
            return [{"type": "file", "file": file}]
        url = source.get("url")
        if self._between and kind == "url" and type(url) is str and is_web_url(url):
            file = {"filename": title} if title else {}
            return [{"type": "file", "file": {**file, "file_url": url}}]
        raise _field(
            f"{where}.source", "a document must be base64 PDF or text; addresses and files do not travel"
        )

    def _inner(self, content: Any, where: str) -> list[JsonObject]:
        """The text and images within another block."""
        if type(content) is str:
            return [{"type": "text", "text": content}] if content else []
        if content is None:
            return []
        if type(content) is not list:
            raise _field(where, "Input should be a valid string or list")
        parts: list[JsonObject] = []
        for index, block in enumerate(content):
            if type(block) is not dict:
                raise _field(f"{where}.{index}", "Input should be a valid dictionary")
            note_knobs(block, self._losses)
            if block.get("cache_control") is not None:
                self._losses.note("cache_control")
            parts += self._within(block, f"{where}.{index}")
        return parts

    def _within(self, block: JsonObject, where: str) -> list[JsonObject]:
        kind = block.get("type")
        if kind == "text" and type(block.get("text")) is str:
            return [{"type": "text", "text": block["text"]}]
        if kind == "image":
            return [self._image(block, where)]
        if kind == "document":
            # As deep as documents nest: the parser of bodies has bounded it.
            return self._document(block, where)
        return [{"type": "text", "text": in_words(block, where)}]

    def _add_result(self, block: JsonObject, where: str, pictures: list[JsonObject]) -> None:
        call_id = block.get("tool_use_id")
        if type(call_id) is not str or not call_id:
            raise _field(f"{where}.tool_use_id", "Field required")
        parts = self._inner(block.get("content"), f"{where}.content")
        texts = []
        for part in parts:
            if part["type"] == "text":
                texts.append(part["text"])
            else:
                # A tool's message takes text only; the picture follows in the user's.
                texts.append(_IMAGE_BELOW)
                pictures.append(part)
        content: Any = "\n".join(texts)
        if self._between and len(pictures):
            # Another pair takes them where they are.
            content = [*parts]
            pictures.clear()
        if block.get("is_error") is True:
            said = {"type": "text", "text": "Error:"}
            content = f"Error: {content}" if type(content) is str else [said, *content]
        if block.get("cache_control") is not None:
            self._losses.note("cache_control")
        note_knobs(block, self._losses)
        self.messages.append({"role": "tool", "tool_call_id": openai_id(call_id), "content": content})

    # --- Assistant ---

    def _add_assistant(self, content: Any, where: str) -> None:
        if type(content) is str:
            self.messages.append({"role": "assistant", "content": content})
            return
        said = _Said()
        for index, block in enumerate(content):
            kind = block["type"]
            if kind == "text":
                note_knobs(block, self._losses)
                said.texts.append(block["text"])
            elif kind == "tool_use":
                said.calls.append(self._call(block, f"{where}.{index}"))
            elif self._between and kind == "thinking" and unsealed(block.get("signature")):
                if said.texts or said.calls:
                    # What was thought after words and calls stays after them.
                    self._say(said)
                    said = _Said()
                said.thoughts.append(block)
            elif kind in ("thinking", "redacted_thinking"):
                self._losses.note("messages.content.thinking")
            else:
                # What the provider ran itself in an earlier turn.
                self._losses.note("messages.content.server_tools")
            if block.get("cache_control") is not None:
                self._losses.note("cache_control")
        self._say(said)

    def _say(self, said: _Said) -> None:
        if not said.texts and not said.calls:
            if said.thoughts:
                self._losses.note("messages.content.thinking")
            return
        message: JsonObject = {"role": "assistant", "content": "".join(said.texts) or None}
        if said.calls:
            message["tool_calls"] = said.calls
        elif message["content"] is None:
            message["content"] = ""
        if said.thoughts:
            message["thinking_blocks"] = said.thoughts
        self.messages.append(message)

    def _call(self, block: JsonObject, where: str) -> JsonObject:
        call_id, name = block.get("id"), block.get("name")
        if type(call_id) is not str or not call_id:
            raise _field(f"{where}.id", "Field required")
        if type(name) is not str or not name:
            raise _field(f"{where}.name", "Field required")
        given = block.get("input")
        if given is not None and type(given) is not dict:
            raise _field(f"{where}.input", "Input should be a valid dictionary")
        function = {"name": self._names.out(name), "arguments": tool_arguments(given)}
        return {"id": openai_id(call_id), "type": "function", "function": function}


def _server_tools(index: int) -> GatewayError:
    return _field(
        f"tools.{index}.type", "this tool is run by its provider and does not exist at this model's"
    )


def _is_billing(block: JsonObject) -> bool:
    text = block.get("text")
    return type(text) is str and text.startswith(_BILLING)


def _simplest(parts: list[JsonObject]) -> Any:
    """One plain text as a string, which every compatible server understands."""
    if not parts:
        return ""
    if len(parts) == 1 and set(parts[0]) == {"type", "text"}:
        return parts[0]["text"]
    return parts


def _source(block: JsonObject, where: str) -> JsonObject:
    source = block.get("source")
    if type(source) is not dict:
        raise _field(
            f"{where}.source", "Field required" if source is None else "Input should be a valid dictionary"
        )
    return source


def _word(value: Any, where: str) -> str:
    if type(value) is not str:
        raise _field(f"{where}.source.media_type", "Field required")
    return value


def _field(where: str, problem: str) -> GatewayError:
    """A 400 in Anthropic's words."""
    return bad_request(f"{where}: {problem}", where)
