"""Responses to chat completions: the conversation, from items to messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from dialects.errors import GatewayError, bad_request
from dialects.parts import Losses, ToolNames, as_text, data_url, is_web_url, openai_id, unsealed
from dialects.types import JsonObject

# OpenAI's limit on a tool's name in chat completions.
_NAME_LIMIT = 64
_IMAGE_BELOW = "[image attached below]"
_FILE_BELOW = "[file attached below]"
# The part of a free text in the arguments of the function that stands for a custom tool.
FREE_TEXT = "input"

# Items of what a provider ran by itself in an earlier turn. The model's own words about them stay.
_PROVIDER_RAN = frozenset(
    {
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "mcp_list_tools",
        "mcp_call",
        "tool_search_call",
    }
)
# Items that tune the turns after them.
_TUNING = frozenset({"configuration_update"})
# Items that bring tools: they are offered with the rest.
BRINGS_TOOLS = frozenset({"additional_tools", "tool_search_output"})


# The code for whatever an earlier call is said to have left here: the one on which clients act, by sending
# the whole conversation.
NOT_KEPT = "previous_response_not_found"


class Tools:
    """The names under which the client's tools go, and what each was: its type, name and namespace."""

    def __init__(self) -> None:
        self._names = ToolNames(_NAME_LIMIT)
        self._known: dict[str, tuple[str, str, str]] = {}

    def out(self, kind: str, name: str, namespace: str) -> str:
        """The function's name for a tool; `kind` is "function" or "custom", `namespace` "" for none."""
        safe = self._names.out(f"{namespace}__{name}" if namespace else name)
        self._known[safe] = (kind, name, namespace)
        return safe

    def back(self, name: str) -> tuple[str, str, str]:
        """Type, name and namespace of the tool that the provider calls by this name."""
        return self._known.get(name, ("function", name, ""))


class Conversation:
    """OpenAI's messages as they grow.

    `between`: the messages are read by another pair, not by a provider: they then also carry what only that
    pair understands, namely signed thinking, images in results, and documents by address.
    `origins` names the field of the client's body that each message comes from.
    """

    def __init__(self, caps: frozenset[str], tools: Tools, losses: Losses, *, between: bool) -> None:
        self.messages: list[JsonObject] = []
        self.origins: list[str] = []
        self._tools = tools
        self._losses = losses
        self._between = between
        self._instructor = "developer" if "max_completion_tokens" in caps else "system"
        self._marks = between or "cache_breakpoints" in caps
        self._outputs: dict[str, tuple[JsonObject, str]] = {}
        # The assistant's turn that may still grow, its calls' own ids, and the thinking that precedes it.
        self._turn: JsonObject | None = None
        self._asked: list[str] = []
        self._thoughts: list[JsonObject] = []
        self._readers: Mapping[str, Callable[[JsonObject, str], None]] = {
            "message": self._add_message,
            "function_call": self._add_call,
            "custom_tool_call": self._add_call,
            # Outputs stand behind their calls already.
            "function_call_output": self._pass_over,
            "custom_tool_call_output": self._pass_over,
            "reasoning": self._add_reasoning,
        }

    def add_instructions(self, text: str) -> None:
        self._append({"role": self._instructor, "content": text}, "instructions")

    def add_all(self, given: str | list[JsonObject]) -> None:
        if isinstance(given, str):
            self._append({"role": "user", "content": given}, "input")
            return
        self._collect_outputs(given)
        for index, item in enumerate(given):
            self._add(item, f"input[{index}]")
        self._end_turn()
        for item, where in self._outputs.values():
            raise bad_request(
                f"No tool call found for {item['type'].replace('_', ' ')} with this call_id ('{where}').",
                f"{where}.call_id",
                "invalid_value",
            )

    def _add(self, item: JsonObject, where: str) -> None:
        kind = item.get("type") or ("message" if "role" in item else "item_reference")
        read = self._readers.get(kind)
        if read is not None:
            read(item, where)
        elif kind in _PROVIDER_RAN or kind in _TUNING:
            self._losses.note(f"input.{kind}")
        elif kind in BRINGS_TOOLS:
            self._end_turn()
        else:
            raise _unsupported(
                f"{where}.type",
                _WHY.get(kind, "this type of item cannot be sent to this model"),
                NOT_KEPT if kind == "item_reference" else "unsupported_content",
            )

    def _append(self, message: JsonObject, origin: str) -> None:
        self.messages.append(message)
        self.origins.append(origin)

    # --- Messages

    def _add_message(self, item: JsonObject, where: str) -> None:
        if item.get("phase") is not None:
            self._losses.note("input.phase")
        role = item["role"]
        if role == "assistant":
            self._add_said(item["content"], where)
            return
        self._end_turn()
        content = self._content(item["content"], f"{where}.content")
        if role == "user":
            self._append({"role": "user", "content": _simplest(content)}, where)
            return
        if any(part["type"] != "text" for part in content):
            raise _unsupported(f"{where}.content", "instructions can only be text for this model")
        if any("prompt_cache_breakpoint" in part for part in content):
            self._append({"role": self._instructor, "content": content}, where)
        else:
            text = "\n\n".join(part["text"] for part in content)
            self._append({"role": self._instructor, "content": text}, where)

    def _add_said(self, content: Any, where: str) -> None:
        text, refusal = _said(content, f"{where}.content")
        turn = self._turn
        if turn is None or "tool_calls" not in turn:
            turn = self._new_turn(where)
            turn["content"] = text or (None if refusal else "")
        elif text:
            # Chat has no text behind calls: it is the same turn, so it goes before them.
            turn["content"] = (turn["content"] or "") + text
        if refusal:
            turn["refusal"] = turn.get("refusal", "") + refusal

    def _content(self, content: Any, where: str) -> list[JsonObject]:
        if type(content) is str:
            return [{"type": "text", "text": content}]
        return [self._part(part, f"{where}[{index}]") for index, part in enumerate(content)]

    def _part(self, part: JsonObject, where: str) -> JsonObject:
        kind = part["type"]
        if kind in ("input_text", "output_text"):
            made: JsonObject = {"type": "text", "text": part["text"]}
        elif kind == "input_image":
            made = self._image(part, where)
        elif kind == "input_file":
            made = self._file(part, where)
        elif kind == "input_audio" and type(part.get("input_audio")) is dict:
            made = {"type": "input_audio", "input_audio": part["input_audio"]}
        else:
            raise _unsupported(f"{where}.type", "this type of content cannot be sent to this model")
        if part.get("prompt_cache_breakpoint") is not None:
            if self._marks:
                made["prompt_cache_breakpoint"] = part["prompt_cache_breakpoint"]
            else:
                self._losses.note("input.content.prompt_cache_breakpoint")
        return made

    def _image(self, part: JsonObject, where: str) -> JsonObject:
        url = part.get("image_url")
        if type(url) is not str or not (is_web_url(url) or data_url(url)):
            raise _unsupported(
                f"{where}.image_url",
                "an image must be a web address or a base64 data: URL; files do not travel",
            )
        image: JsonObject = {"url": url}
        detail = part.get("detail")
        if detail in ("low", "high"):
            image["detail"] = detail
        elif detail not in (None, "auto"):
            self._losses.note("input.content.detail")
        return {"type": "image_url", "image_url": image}

    def _file(self, part: JsonObject, where: str) -> JsonObject:
        if part.get("detail") not in (None, "auto"):
            self._losses.note("input.content.detail")
        file: JsonObject = {}
        name = part.get("filename")
        if type(name) is str and name:
            file["filename"] = name
        data, url = part.get("file_data"), part.get("file_url")
        if type(data) is str and data:
            file.setdefault("filename", "document.pdf")
            file["file_data"] = data
        elif self._between and type(url) is str and is_web_url(url):
            file["file_url"] = url
        else:
            raise _unsupported(
                where, "a file must come as file_data; its address or an uploaded file's id does not travel"
            )
        return {"type": "file", "file": file}

    # --- The assistant's turns

    def _new_turn(self, where: str) -> JsonObject:
        thoughts, self._thoughts = self._thoughts, []
        self._end_turn()
        turn: JsonObject = {"role": "assistant", "content": None}
        self._append(turn, where)
        self._turn, self._thoughts = turn, thoughts
        self._think(turn)
        return turn

    def _add_call(self, item: JsonObject, where: str) -> None:
        turn = self._turn or self._new_turn(where)
        self._think(turn)
        custom = item["type"] == "custom_tool_call"
        # Servers read them as JSON, which nothing is not.
        arguments = orjson.dumps({FREE_TEXT: item["input"]}).decode() if custom else item["arguments"] or "{}"
        namespace = as_text(item.get("namespace"), f"{where}.namespace")
        name = self._tools.out("custom" if custom else "function", item["name"], namespace)
        call = {
            "id": openai_id(item["call_id"]),
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        turn.setdefault("tool_calls", []).append(call)
        self._asked.append(item["call_id"])

    def _add_reasoning(self, item: JsonObject, where: str) -> None:
        block = unsealed(item.get("encrypted_content"))
        if block is None and item.get("encrypted_content") is None:
            # Reasoning that nobody signed: its text is all that there is.
            block = {"type": "thinking", "thinking": _reasoned(item, where), "signature": ""}
        if block is None or not self._between:
            self._losses.note("input.reasoning")
            return
        if self._turn is not None and "tool_calls" not in self._turn:
            # What was thought after a text stays after it.
            self._end_turn()
        self._thoughts.append(block)

    def _think(self, turn: JsonObject) -> None:
        """Put the thinking that waits before this turn's words, in both forms that pairs read."""
        signed = [b for b in self._thoughts if b.get("signature") or b.get("type") == "redacted_thinking"]
        text = "\n\n".join(t for b in self._thoughts if type(t := b.get("thinking")) is str and t)
        self._thoughts = []
        if signed:
            turn["thinking_blocks"] = turn.get("thinking_blocks", []) + signed
        if text:
            turn["reasoning_content"] = "\n\n".join(filter(None, (turn.get("reasoning_content"), text)))

    def _end_turn(self) -> None:
        """Close the assistant's turn: the results of its calls follow at once, as chat wants them."""
        if self._thoughts:
            # Thinking that nothing follows: the turn that it belonged to is not in the conversation.
            self._losses.note("input.reasoning")
            self._thoughts = []
        asked, self._asked, self._turn = self._asked, [], None
        below: list[JsonObject] = []
        for call_id in asked:
            found = self._outputs.pop(call_id, None)
            if found is None:
                raise bad_request(
                    "No tool output found for a function call in 'input'.", "input", "invalid_value"
                )
            self._add_output(call_id, *found, below)
        if below:
            self._append({"role": "user", "content": below}, "input")

    # --- Outputs

    def _collect_outputs(self, given: list[JsonObject]) -> None:
        for index, item in enumerate(given):
            if item.get("type") not in ("function_call_output", "custom_tool_call_output"):
                continue
            call_id = item.get("call_id")
            if call_id is None:
                raise bad_request(
                    f"Missing required parameter: 'input[{index}].call_id'.",
                    f"input[{index}].call_id",
                    "missing_required_parameter",
                )
            self._outputs[call_id] = (item, f"input[{index}]")

    def _pass_over(self, item: JsonObject, where: str) -> None:  # noqa: ARG002 - the readers' signature
        self._end_turn()

    def _add_output(self, call_id: str, item: JsonObject, where: str, below: list[JsonObject]) -> None:
        parts = self._content(item["output"], f"{where}.output")
        content = _simplest(parts)
        if type(content) is list and not self._between:
            # A tool's message takes text only; the rest follows in the user's.
            below += [part for part in parts if part["type"] != "text"]
            content = "\n".join(_in_words(part, f"{where}.output") for part in parts)
        self._append({"role": "tool", "tool_call_id": openai_id(call_id), "content": content}, where)


_WHY: Mapping[str, str] = {
    "item_reference": "items are kept by nobody here: send the item itself",
    "compaction": "a compacted conversation can only be read by the provider that made it",
    "compaction_trigger": "this model's provider does not compact conversations",
    "computer_call": "this model's provider does not drive a computer",
    "computer_call_output": "this model's provider does not drive a computer",
}


def _in_words(part: JsonObject, where: str) -> str:
    if part["type"] == "text":
        text: str = part["text"]
        return text
    if part["type"] == "input_audio":
        raise _unsupported(where, "audio in a tool's output cannot be sent to this model")
    return _IMAGE_BELOW if part["type"] == "image_url" else _FILE_BELOW


def _reasoned(item: JsonObject, where: str) -> str:
    """The text of reasoning: its summary, else the whole of it as open models give it."""
    for name in ("summary", "content"):
        parts = item.get(name)
        if type(parts) is list and parts:
            texts = (p.get("text") if type(p) is dict else None for p in parts)
            return "\n\n".join(as_text(text, f"{where}.{name}") for text in texts)
    return ""


def _said(content: Any, where: str) -> tuple[str, str]:
    """An assistant's text and refusal."""
    if type(content) is str:
        return content, ""
    texts: list[str] = []
    refusals: list[str] = []
    for index, part in enumerate(content):
        kind = part["type"]
        if kind in ("output_text", "input_text"):
            texts.append(part["text"])
        elif kind == "refusal":
            refusals.append(as_text(part.get("refusal"), f"{where}[{index}].refusal"))
        else:
            raise _unsupported(f"{where}[{index}].type", "an assistant's message can only be text here")
    return "".join(texts), "".join(refusals)


def _simplest(parts: list[JsonObject]) -> Any:
    """One plain text as a string, which every compatible server understands."""
    if not parts:
        return ""
    if len(parts) == 1 and set(parts[0]) == {"type", "text"}:
        return parts[0]["text"]
    return parts


def _unsupported(param: str, what: str, code: str = "unsupported_content") -> GatewayError:
    return bad_request(f"'{param}': {what}.", param, code)
