"""Chat completions answered by Ollama's native chat, which keeps options, thinking and formats that Ollama's
own OpenAI routes lose."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from dialects import parts_ollama as ollama
from dialects.capabilities import resolve
from dialects.errors import GatewayError, bad_request
from dialects.ollama_chat import ollama_usage
from dialects.parts import (
    EFFORTS,
    CallIds,
    Losses,
    as_text,
    chat_usage,
    data_url,
    invalid_answer,
    is_text,
    new_id,
    titled,
    tool_arguments,
)
from dialects.sse import frame, frame_json
from dialects.types import Event, JsonObject, ModelFacts, Usage

_FLOATS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    # Not OpenAI's, but sent by clients of servers that speak its dialect.
    "min_p": "min_p",
}
_INTS = {"seed": "seed", "top_k": "top_k"}
# OpenAI's own limit.
_MOST_LOGPROBS = 20
_KNOWN = frozenset(
    {
        "model", "messages", "stream", "stream_options", "n", "stop", "max_tokens", "max_completion_tokens",
        "tools", "tool_choice", "functions", "function_call", "parallel_tool_calls", "response_format",
        "reasoning_effort", "logprobs", "top_logprobs", "options", "num_ctx",
        *_FLOATS, *_INTS, *ollama.EXTENSIONS,
    }
)  # fmt: skip
# Values that ask for what happens anyway.
_NEUTRAL: Mapping[str, Any] = {
    "store": False,
    "modalities": ["text"],
    "logit_bias": {},
    "metadata": {},
    "verbosity": "medium",
}
_DONE = b"data: [DONE]\n\n"
_NO_MESSAGE: JsonObject = {}
_NO_USAGE = Usage()


class ChatViaOllama:
    """One attempt. Answers have OpenAI's form with `reasoning_content` beside the content."""

    def __init__(self) -> None:
        self._losses = Losses()
        self.dropped: list[str] = self._losses
        self._id = new_id("chatcmpl-")
        self._created = int(time.time())
        self._ids = CallIds("call_", str)
        self._model = ""
        self._include_usage = False
        self._legacy = False
        # The stream's state: its frame around a text, the calls seen, and the last line.
        self._head = b""
        self._tail = b""
        self._calls = 0
        self._last: JsonObject = {}

    def request(self, body: JsonObject, model: ModelFacts) -> JsonObject:
        self._model = model.name
        self._include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        _refuse(body)
        capabilities = resolve(model)
        messages = _Conversation(self._losses, model).read(body.get("messages"))
        out: JsonObject = {
            "model": model.name,
            "messages": messages,
            # Ollama streams unless it is told not to.
            "stream": body.get("stream") is True,
        }
        tools = self._tools(body, messages)
        if tools:
            out["tools"] = tools
        out.update(_format(body))
        out.update(self._think(body, model, capabilities))
        out.update(self._logprobs(body))
        out.update(ollama.extensions(body))
        options = self._options(body)
        if options:
            out["options"] = options
        self._losses.note_unknown(body, _KNOWN, _NEUTRAL)
        return out

    def response(self, body: JsonObject) -> JsonObject:
        try:
            return self._completion(body)
        except (AttributeError, KeyError, TypeError):
            raise invalid_answer() from None

    def _completion(self, body: JsonObject) -> JsonObject:
        message = body["message"]
        calls = [self._call(call) for call in message.get("tool_calls") or ()]
        finish = ollama.finish_reason(body, called=bool(calls))
        said: JsonObject = {
            "role": "assistant",
            "content": message.get("content") or (None if calls else ""),
            "refusal": None,
        }
        if message.get("thinking"):
            # The two names in use for it.
            said["reasoning_content"] = said["reasoning"] = message["thinking"]
        if calls and self._legacy:
            said["function_call"] = calls[0]["function"]
            finish = "function_call" if finish == "tool_calls" else finish
        elif calls:
            said["tool_calls"] = calls
        return {
            "id": self._id,
            "object": "chat.completion",
            "created": self._created,
            "model": _name(body, self._model),
            "system_fingerprint": None,
            "choices": [
                {
                    "index": 0,
                    "message": said,
                    "logprobs": _openai_logprobs(body.get("logprobs")),
                    "finish_reason": finish,
                }
            ],
            "usage": chat_usage(ollama_usage(body) or _NO_USAGE),
        }

    def event(self, event: Event) -> bytes:
        if not event.data:
            return b""
        try:
            return self._line(event.json())
        except (AttributeError, KeyError, TypeError):
            raise invalid_answer() from None

    def _line(self, line: JsonObject) -> bytes:
        out = b"" if self._head else self._begin(line)
        message = line.get("message") or _NO_MESSAGE
        text = message.get("content")
        logprobs = line.get("logprobs")
        if text and not logprobs and len(message) == 2 and "role" in message:
            # Nearly every line: a role and a piece of text.
            out += frame(self._head + orjson.dumps(text) + self._tail)
        else:
            out += self._parts(message, logprobs)
        if line.get("done") is True:
            self._last = line
        return out

    def finish(self) -> bytes:
        finish = ollama.finish_reason(self._last, called=self._calls > 0)
        if self._legacy and finish == "tool_calls":
            finish = "function_call"
        out = self._chunk({}, finish=finish)
        if self._include_usage:
            usage = chat_usage(ollama_usage(self._last) or _NO_USAGE)
            out += frame_json({**self._envelope(), "choices": [], "usage": usage})
        return out + _DONE

    # --- The request's parts

    def _tools(self, body: JsonObject, messages: list[JsonObject]) -> list[JsonObject]:
        given = body.get("tools")
        self._legacy = not given and bool(body.get("functions"))
        if given and body.get("functions"):
            self._losses.note("functions")
        name = "functions" if self._legacy else "tools"
        tools = [self._tool(t, f"{name}[{i}]") for i, t in enumerate(body.get(name) or ())]
        if body.get("parallel_tool_calls") is False and tools:
            self._losses.note("parallel_tool_calls")
        choice = body.get("function_call" if self._legacy else "tool_choice")
        if not tools:
            return []
        return self._choose(choice, tools, messages)

    def _tool(self, given: Any, where: str) -> JsonObject:
        function = given if self._legacy else _function_of(given, where)
        if type(function) is not dict or type(function.get("name")) is not str or not function["name"]:
            raise bad_request(f"'{where}' has no name.", where, "invalid_value")
        if function.get("strict"):
            self._losses.note("tools.function.strict")
        ollama.note_marks(given, self._losses)
        return ollama.tool(
            function["name"], function.get("description"), function.get("parameters"), self._losses
        )

    def _choose(self, choice: Any, tools: list[JsonObject], messages: list[JsonObject]) -> list[JsonObject]:
        """The tools that the choice leaves. Ollama has no choice of its own: `none` means no tools, and a
        forced call is asked for in words."""
        where = "function_call" if self._legacy else "tool_choice"
        if choice is None or choice == "auto":
            return tools
        if choice == "none":
            return []
        if choice == "required":
            self._losses.note(where)
            ollama.must_call(messages, None)
            return tools
        if type(choice) is not dict:
            raise bad_request(f"Invalid value for '{where}'.", where, "invalid_value")
        if choice.get("type") == "allowed_tools":
            return self._allowed(choice.get("allowed_tools"), tools, messages)
        named = choice if self._legacy else choice.get("function")
        name = named.get("name") if type(named) is dict else None
        if type(name) is not str:
            raise bad_request(f"Invalid value for '{where}'.", where, "invalid_value")
        left = ollama.chosen(tools, name, where)
        self._losses.note(where)
        ollama.must_call(messages, name)
        return left

    def _allowed(self, allowed: Any, tools: list[JsonObject], messages: list[JsonObject]) -> list[JsonObject]:
        where = "tool_choice.allowed_tools"
        entries = allowed.get("tools") if type(allowed) is dict else None
        if type(entries) is not list:
            raise bad_request(f"Invalid value for '{where}'.", where, "invalid_value")
        left: list[JsonObject] = []
        for entry in entries:
            name = _function_of(entry, where).get("name")
            left += ollama.chosen(tools, name if type(name) is str else "", where)
        return self._choose(allowed.get("mode") or "auto", left, messages)

    def _think(self, body: JsonObject, model: ModelFacts, capabilities: frozenset[str]) -> JsonObject:
        effort = body.get("reasoning_effort")
        if effort is None:
            return {}
        if effort not in EFFORTS:
            raise bad_request("Invalid value for 'reasoning_effort'.", "reasoning_effort", "invalid_value")
        if "reasoning" not in capabilities:
            # Ollama refuses `think` for a model that cannot; one that does not think does as `none` asks.
            if effort != "none":
                self._losses.note("reasoning_effort")
            return {}
        # A model that can think does so unless it is told not to, so `none` is sent.
        return {"think": ollama.think(effort, model.name)}

    def _options(self, body: JsonObject) -> ollama.Options:
        options = ollama.Options()
        options.floats(body, _FLOATS)
        options.ints(body, _INTS)
        newer = body.get("max_completion_tokens") is not None
        options.ints(body, {"max_completion_tokens" if newer else "max_tokens": "num_predict"})
        options.stop(body, "stop")
        options.extend(body, self._losses)
        return options

    def _logprobs(self, body: JsonObject) -> JsonObject:
        top = body.get("top_logprobs")
        if not body.get("logprobs"):
            if top is not None:
                self._losses.note("top_logprobs")
            return {}
        if top is None:
            return {"logprobs": True}
        if type(top) is not int or not 0 <= top <= _MOST_LOGPROBS:
            raise bad_request(
                f"'top_logprobs' must be an integer from 0 to {_MOST_LOGPROBS}.", "top_logprobs"
            )
        return {"logprobs": True, "top_logprobs": top}

    # --- The answer's parts

    def _call(self, call: JsonObject) -> JsonObject:
        function = call["function"]
        return {
            "id": self._ids.of(call),
            "type": "function",
            "function": {
                "name": function["name"],
                "arguments": tool_arguments(function.get("arguments")),
            },
        }

    def _begin(self, line: JsonObject) -> bytes:
        self._model = _name(line, self._model)
        whole = orjson.dumps({**self._envelope(), "choices": []})
        self._head = whole[:-2] + b'{"index":0,"delta":{"content":'
        usage = b',"usage":null}' if self._include_usage else b"}"
        self._tail = b'},"logprobs":null,"finish_reason":null}]' + usage
        return self._chunk({"role": "assistant", "content": ""})

    def _parts(self, message: JsonObject, logprobs: Any) -> bytes:
        out = b""
        if message.get("thinking"):
            out += self._chunk({"reasoning_content": message["thinking"], "reasoning": message["thinking"]})
        if message.get("content") or logprobs:
            out += self._chunk({"content": message.get("content") or ""}, logprobs=logprobs)
        for call in message.get("tool_calls") or ():
            made = self._call(call)
            if not self._legacy:
                # Ollama's own index is 0 for every call in some versions.
                out += self._chunk({"tool_calls": [{"index": self._calls, **made}]})
            elif self._calls == 0:
                out += self._chunk({"function_call": made["function"]})
            self._calls += 1
        return out

    def _envelope(self) -> JsonObject:
        return {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
            "system_fingerprint": None,
        }

    def _chunk(self, delta: JsonObject, *, logprobs: Any = None, finish: str | None = None) -> bytes:
        chunk = {
            **self._envelope(),
            "choices": [
                {
                    "index": 0,
                    "delta": delta,
                    "logprobs": _openai_logprobs(logprobs),
                    "finish_reason": finish,
                }
            ],
        }
        if self._include_usage:
            chunk["usage"] = None
        return frame_json(chunk)


class _Conversation:
    """A client's messages as Ollama's: one for one, with texts joined and media apart."""

    def __init__(self, losses: Losses, model: ModelFacts) -> None:
        self._losses = losses
        # By its row only: few models hear, and those that do not would read the sound as a picture.
        self._hears = "audio" in model.capabilities
        # Older templates know a result only by its tool's name.
        self._names: dict[str, str] = {}
        self._function_calls = 0
        self._roles: Mapping[str, Callable[[JsonObject, str], JsonObject]] = {
            "system": self._system,
            # Templates do not know it: the message would vanish.
            "developer": self._system,
            "user": self._user,
            "assistant": self._assistant,
            "tool": self._tool,
            "function": self._function,
        }

    def read(self, messages: Any) -> list[JsonObject]:
        if type(messages) is not list:
            raise bad_request("'messages' must be an array.", "messages", "invalid_type")
        return [self._message(message, f"messages[{i}]") for i, message in enumerate(messages)]

    def _message(self, message: Any, where: str) -> JsonObject:
        role = message.get("role") if type(message) is dict else None
        read = self._roles.get(role) if type(role) is str else None
        if read is None:
            raise bad_request(f"Invalid value for '{where}.role'.", f"{where}.role", "invalid_value")
        if message.get("name") and role != "function":
            self._losses.note("messages.name")
        ollama.note_marks(message, self._losses)
        return read(message, where)

    def _system(self, message: JsonObject, where: str) -> JsonObject:
        return {"role": "system", **self._content(message, where)}

    def _user(self, message: JsonObject, where: str) -> JsonObject:
        return {"role": "user", **self._content(message, where)}

    def _assistant(self, message: JsonObject, where: str) -> JsonObject:
        out = {"role": "assistant", **self._content(message, where)}
        refusal = as_text(message.get("refusal"), f"{where}.refusal")
        if refusal:
            out["content"] = "\n".join(filter(None, (out["content"], refusal)))
        thinking = message.get("reasoning_content") or message.get("reasoning")
        if type(thinking) is str and thinking:
            out["thinking"] = thinking
        calls = [self._call(c, f"{where}.tool_calls[{i}]") for i, c in enumerate(_calls_of(message, where))]
        legacy = message.get("function_call")
        if legacy:
            self._function_calls += 1
            made = {"id": f"call_{self._function_calls}", "function": legacy}
            calls.append(self._call(made, f"{where}.function_call"))
        if calls:
            out["tool_calls"] = calls
        return out

    def _call(self, call: Any, where: str) -> JsonObject:
        function = call.get("function") if type(call) is dict else None
        arguments = function.get("arguments") if type(function) is dict else None
        if function is None and type(call) is dict and type(call.get("custom")) is dict:
            function = call["custom"]
            arguments = {"input": function.get("input")}
        name = function.get("name") if type(function) is dict else None
        if type(name) is not str:
            raise bad_request(f"'{where}' has no function name.", where, "invalid_value")
        call_id = call.get("id")
        if type(call_id) is str:
            self._names[call_id] = name
        return ollama.call(name, arguments, call_id)

    def _tool(self, message: JsonObject, where: str) -> JsonObject:
        call_id = message.get("tool_call_id")
        if type(call_id) is not str:
            raise bad_request(
                f"Missing required parameter: '{where}.tool_call_id'.",
                f"{where}.tool_call_id",
                "missing_required_parameter",
            )
        out = {"role": "tool", **self._content(message, where), "tool_call_id": call_id}
        name = self._names.get(call_id)
        if name is not None:
            out["tool_name"] = name
        return out

    def _function(self, message: JsonObject, where: str) -> JsonObject:
        name = as_text(message.get("name"), f"{where}.name")
        out = {"role": "tool", **self._content(message, where), "tool_name": name}
        return {**out, "tool_call_id": f"call_{self._function_calls}"} if self._function_calls else out

    def _content(self, message: JsonObject, where: str) -> JsonObject:
        content = message.get("content")
        if content is None or type(content) is str:
            return {"content": content or ""}
        if type(content) is not list:
            raise bad_request(
                f"'{where}.content' must be a string or an array.", f"{where}.content", "invalid_type"
            )
        texts: list[str] = []
        images: list[str] = []
        for index, part in enumerate(content):
            self._part(part, f"{where}.content[{index}]", texts, images)
        # One message stays one message; Ollama's own OpenAI route makes one of each part.
        joined: JsonObject = {"content": "\n".join(texts)}
        return {**joined, "images": images} if images else joined

    def _part(self, part: Any, where: str, texts: list[str], images: list[str]) -> None:
        kind = part.get("type") if type(part) is dict else None
        ollama.note_marks(part, self._losses)
        if kind == "text" or kind == "refusal":
            texts.append(as_text(part.get(kind), f"{where}.{kind}"))
        elif kind == "image_url":
            images.append(_image(part.get("image_url"), where))
            if type(part["image_url"]) is dict and part["image_url"].get("detail") not in (None, "auto"):
                self._losses.note("messages.content.image_url.detail")
        elif kind == "input_audio":
            images.append(self._audio(part.get("input_audio"), where))
        elif kind == "file":
            texts.append(_file(part.get("file"), where))
        else:
            raise bad_request(f"'{where}' is not a kind of content that this model's provider takes.", where)

    def _audio(self, audio: Any, where: str) -> str:
        # Models that hear take sound in the place of pictures.
        if not self._hears:
            raise bad_request("This model does not take audio.", where, "unsupported_media")
        return ollama.picture(audio.get("data") if type(audio) is dict else None, where)


def _refuse(body: JsonObject) -> None:
    """Refuse what changes how much or what kind of answer comes back."""
    n = body.get("n")
    if n is not None and n != 1:
        raise bad_request("This model's provider gives one answer per request: 'n' must be 1.", "n")
    modalities = body.get("modalities")
    if modalities is not None and (type(modalities) is not list or "audio" in modalities):
        raise bad_request("This model's provider answers with text only.", "modalities")
    if body.get("audio") is not None:
        raise bad_request("This model's provider answers with text only.", "audio")


def _function_of(tool: Any, where: str) -> JsonObject:
    if type(tool) is not dict or type(tool.get("function")) is not dict:
        raise bad_request(f"'{where}' is not a function tool: this model's provider takes no others.", where)
    function: JsonObject = tool["function"]
    return function


def _calls_of(message: JsonObject, where: str) -> list[Any]:
    calls = message.get("tool_calls")
    if calls is not None and type(calls) is not list:
        raise bad_request(f"'{where}.tool_calls' must be an array.", f"{where}.tool_calls", "invalid_type")
    return calls or []


def _image(image: Any, where: str) -> str:
    url = image.get("url") if type(image) is dict else image
    if type(url) is not str:
        raise bad_request(f"'{where}.image_url.url' must be a string.", where, "invalid_type")
    media = data_url(url)
    if media is None:
        raise ollama.refuse_address(f"{where}.image_url.url", "images")
    return ollama.picture(media.data, f"{where}.image_url.url")


def _file(file: Any, where: str) -> str:
    data = file.get("file_data") if type(file) is dict else None
    if type(data) is not str:
        raise bad_request(
            f"'{where}.file' must carry its data: files kept at another provider cannot be read.", where
        )
    media = data_url(data)
    if media is None or not is_text(media.type):
        raise _no_document(where)
    return titled(file.get("filename"), ollama.text_of_data(media.data, where))


def _no_document(where: str) -> GatewayError:
    return bad_request(
        f"This model's provider reads text documents only, not PDF or other files ('{where}').",
        where,
        "unsupported_media",
    )


def _format(body: JsonObject) -> JsonObject:
    wanted = body.get("response_format")
    if wanted is None:
        return {}
    kind = wanted.get("type") if type(wanted) is dict else None
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"format": "json"}
    described = wanted.get("json_schema") if kind == "json_schema" else None
    schema = described.get("schema") if type(described) is dict else None
    if schema is None and type(described) is dict:
        # It may be left out; then any object will do.
        return {"format": "json"}
    if type(schema) is not dict:
        raise bad_request("Invalid value for 'response_format'.", "response_format", "invalid_value")
    return {"format": schema}


def _openai_logprobs(entries: Any) -> JsonObject | None:
    if type(entries) is not list or not entries:
        return None
    content = []
    for entry in entries:
        top = entry.get("top_logprobs") or ()
        content.append({**_logprob(entry), "top_logprobs": [_logprob(other) for other in top]})
    return {"content": content, "refusal": None}


def _logprob(entry: JsonObject) -> JsonObject:
    token = entry["token"]
    return {
        "token": token,
        "logprob": entry["logprob"],
        "bytes": entry.get("bytes") or list(token.encode()),
    }


def _name(line: JsonObject, otherwise: str) -> str:
    """The model that answered, as the provider calls it."""
    model = line.get("model")
    return model if type(model) is str and model else otherwise
