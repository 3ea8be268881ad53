"""Chat completions to Anthropic's messages: the request's fields, each mapped, dropped or refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dialects import parts_openrouter, schema
from dialects.capabilities import DEFAULT_MAX_OUTPUT, USUAL_MAX_OUTPUT, max_output_of
from dialects.chat import wrong_type
from dialects.chat_via_messages_turns import Turns, cache_mark
from dialects.errors import bad_request
from dialects.parts import EFFORTS, MIN_BUDGET, Losses, ToolNames, as_text, budget_for, effort_for, end_user
from dialects.types import JsonObject, ModelFacts

# The tool by which a model without structured output is made to answer in JSON.
JSON_TOOL = "json_output"
# Anthropic's limit on cache marks in one request.
_MARKS = 4
# Anthropic's limit on the length of metadata.user_id.
_USER_LIMIT = 256

_KNOWN = frozenset(
    {
        "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "stop",
        "stream", "stream_options", "n", "tools", "tool_choice", "parallel_tool_calls", "functions",
        "function_call", "response_format", "reasoning_effort", "reasoning", "thinking", "user",
        "safety_identifier", "metadata", "service_tier", "modalities", "audio",
    }
)  # fmt: skip
# Values that ask for nothing: leaving them out loses nothing.
_NEUTRAL = {
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logit_bias": {},
    "logprobs": False,
    "store": False,
    "verbosity": "medium",
}
_TIERS = {"auto": "auto", "default": "standard_only", "priority": "auto", "fast": "auto"}


@dataclass(slots=True)
class Plan:
    """What the answer's reader must know of the request: the names given to tools, whether the client used
    the older `functions`, whether `json_output` stands for the answer's text, and whether reasoning was asked
    for in OpenRouter's form (`details`), so that it is given in that form too."""

    names: ToolNames = field(default_factory=lambda: ToolNames(128))
    losses: Losses = field(default_factory=Losses)
    functions: bool = False
    json_tool: bool = False
    details: bool = False


class RequestBuilder:
    """Builds one Anthropic body. The order matters: thinking depends on the tools and the cap, sampling on
    thinking."""

    def __init__(self, body: JsonObject, model: ModelFacts, caps: frozenset[str], plan: Plan) -> None:
        self._body = body
        self._model = model
        self._caps = caps
        self._plan = plan
        self._losses = plan.losses
        self._out: JsonObject = {"model": model.name}

    def build(self) -> JsonObject:
        self._refuse()
        turns = Turns(self._caps, self._plan.names, self._losses)
        turns.add_all(self._body["messages"])
        self._out["messages"] = turns.turns
        if turns.system:
            self._out["system"] = turns.system
        self._cap()
        self._tools()
        self._format()
        self._thinking()
        self._sampling()
        self._stop()
        if self._body.get("stream"):
            self._out["stream"] = True
        self._who()
        self._losses.note_unknown(self._body, _KNOWN, _NEUTRAL)
        self._limit_marks()
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
        options = body.get("stream_options")
        if type(options) is dict and options.get("include_obfuscation"):
            self._losses.note("stream_options.include_obfuscation")

    def _cap(self) -> None:
        name = "max_tokens" if self._body.get("max_completion_tokens") is None else "max_completion_tokens"
        asked = self._body.get(name)
        most = self._model.max_output_tokens or max_output_of(self._model.name)
        if asked is None:
            asked = min(most or DEFAULT_MAX_OUTPUT, USUAL_MAX_OUTPUT)
        elif most and asked > most:
            # The provider would refuse it; every answer it could have given still fits.
            self._losses.note(name)
            asked = most
        self._out["max_tokens"] = asked

    # --- Tools ---

    def _tools(self) -> None:
        tools = [self._tool(t, f"tools[{i}]") for i, t in enumerate(self._body.get("tools") or ())]
        functions = self._body.get("functions") or ()
        if functions and not tools:
            self._plan.functions = True
            tools = [self._function(f, f"functions[{i}]", f) for i, f in enumerate(functions)]
        choice = self._choice(tools)
        tools = self._allowed(tools)
        names = [tool["name"] for tool in tools]
        if len(set(names)) != len(names):
            raise bad_request("Tool names must be unique.", "tools", "invalid_value")
        if not tools:
            return
        self._out["tools"] = tools
        if choice is not None:
            self._out["tool_choice"] = choice

    def _tool(self, tool: JsonObject, where: str) -> JsonObject:
        function = tool.get("function")
        if tool.get("type") != "function" or type(function) is not dict:
            raise bad_request(
                f"'{where}': only tools of type 'function' can be sent to this model.",
                f"{where}.type",
                "unsupported_value",
            )
        return self._function(function, f"{where}.function", tool)

    def _function(self, function: JsonObject, where: str, holder: JsonObject) -> JsonObject:
        name = as_text(function.get("name"), f"{where}.name")
        if not name:
            raise bad_request(
                f"Missing required parameter: '{where}.name'.", f"{where}.name", "missing_required_parameter"
            )
        made: JsonObject = {"name": self._plan.names.out(name)}
        description = as_text(function.get("description"), f"{where}.description")
        if description:
            made["description"] = description
        whole = schema.as_object(function.get("parameters"))
        made["input_schema"] = schema.without_top_choice(whole)
        if made["input_schema"] is not whole:
            self._losses.note("tools.function.parameters")
        if function.get("strict") is True:
            if "json_schema" in self._caps:
                made["input_schema"] = schema.for_anthropic(made["input_schema"])
                made["strict"] = True
            else:
                self._losses.note("tools.function.strict")
        mark = cache_mark(holder) or cache_mark(function)
        if mark:
            made["cache_control"] = mark
        return made

    def _choice(self, tools: list[JsonObject]) -> JsonObject | None:
        wanted = self._body.get("tool_choice")
        if self._plan.functions:
            wanted = self._body.get("function_call")
        if not tools:
            return None
        choice = self._choice_of(wanted)
        if choice is not None and choice["type"] in ("any", "tool") and "forced_tools" not in self._caps:
            self._losses.note("tool_choice")
            choice = {"type": "auto"}
        if self._body.get("parallel_tool_calls") is False:
            choice = choice or {"type": "auto"}
            if choice["type"] != "none":
                choice["disable_parallel_tool_use"] = True
        return choice

    def _choice_of(self, wanted: Any) -> JsonObject | None:
        if wanted is None:
            return None
        if type(wanted) is str and wanted in _CHOICES:
            return {"type": _CHOICES[wanted]}
        if type(wanted) is dict:
            allowed = wanted.get("allowed_tools")
            if type(allowed) is dict:
                return {"type": "any" if allowed.get("mode") == "required" else "auto"}
            function = wanted.get("function", wanted if self._plan.functions else None)
            name = function.get("name") if type(function) is dict else None
            if type(name) is str and name:
                return {"type": "tool", "name": self._plan.names.out(name)}
        raise bad_request("Invalid value for 'tool_choice'.", "tool_choice", "invalid_value")

    def _allowed(self, tools: list[JsonObject]) -> list[JsonObject]:
        """The tools that `allowed_tools` leaves."""
        wanted = self._body.get("tool_choice")
        allowed = wanted.get("allowed_tools") if type(wanted) is dict else None
        if type(allowed) is not dict:
            return tools
        names = set()
        for tool in allowed.get("tools") or ():
            function = tool.get("function") if type(tool) is dict else None
            name = function.get("name") if type(function) is dict else None
            if type(name) is str:
                names.add(self._plan.names.out(name))
        return [tool for tool in tools if tool["name"] in names]

    # --- Form of the answer ---

    def _format(self) -> None:
        wanted = self._body.get("response_format")
        if not wanted or wanted.get("type") in (None, "text"):
            return
        kind = wanted["type"]
        if kind == "json_object":
            self._hint("Answer with one JSON object only, without any text around it.")
            return
        given = wanted.get("json_schema")
        if kind != "json_schema" or type(given) is not dict:
            raise bad_request("Invalid 'response_format'.", "response_format", "invalid_value")
        shape = given.get("schema")
        if shape is not None and type(shape) is not dict:
            raise wrong_type("response_format.json_schema.schema", "an object", shape)
        if "json_schema" in self._caps:
            clean = schema.for_anthropic(schema.as_object(shape))
            self._out["output_config"] = {"format": {"type": "json_schema", "schema": clean}}
            return
        self._answer_by_tool(schema.as_object(shape), given)

    def _answer_by_tool(self, shape: JsonObject, given: JsonObject) -> None:
        self._plan.json_tool = True
        tool: JsonObject = {"name": JSON_TOOL, "input_schema": shape}
        described = given.get("description")
        tool["description"] = described if type(described) is str and described else "Gives the answer."
        tools = self._out.setdefault("tools", [])
        if any(t["name"] == JSON_TOOL for t in tools):
            raise bad_request(f"The tool name '{JSON_TOOL}' is taken for 'response_format'.", "tools")
        alone = not tools
        tools.append(tool)
        choice = self._out.get("tool_choice", {"type": "auto"})
        if "forced_tools" not in self._caps or choice["type"] == "tool":
            return
        self._out["tool_choice"] = {"type": "tool", "name": JSON_TOOL} if alone else {"type": "any"}

    def _hint(self, text: str) -> None:
        self._out.setdefault("system", []).append({"type": "text", "text": text})

    # --- Reasoning ---

    def _thinking(self) -> None:
        effort, budget, field_name = self._wanted_effort()
        if effort is None:
            return
        if effort == "none":
            if "thinking_adaptive" in self._caps and "thinking_budget" not in self._caps:
                self._out["thinking"] = {"type": "disabled"}
            return
        if "reasoning" not in self._caps:
            self._losses.note(field_name)
            return
        if "thinking_adaptive" in self._caps:
            self._adaptive(effort, field_name)
            return
        cap = self._out["max_tokens"]
        if cap <= MIN_BUDGET or self._is_forced() or self._lacks_thoughts():
            self._losses.note(field_name)
            return
        # Thinking counts against the cap: at least half of it is left for the answer where possible.
        room = max(MIN_BUDGET, cap // 2)
        self._out["thinking"] = {"type": "enabled", "budget_tokens": min(budget, room)}

    def _wanted_effort(self) -> tuple[str | None, int, str]:
        """(effort, budget in tokens, the field that asked); no effort where none did."""
        thinking = self._body.get("thinking")
        if type(thinking) is dict:
            kind = thinking.get("type")
            tokens = thinking.get("budget_tokens")
            if kind == "enabled" and type(tokens) is int:
                return effort_for(tokens), max(tokens, MIN_BUDGET), "thinking"
            if kind == "disabled":
                return "none", 0, "thinking"
            if kind == "adaptive":
                return self._named_effort() or "medium", budget_for("medium"), "thinking"
        elif thinking is not None:
            self._losses.note("thinking")
        reasoning = self._body.get("reasoning")
        if type(reasoning) is dict:
            self._plan.details = True
            asked, budget = parts_openrouter.wanted(reasoning)
            if asked is not None:
                return asked, budget, "reasoning"
        elif reasoning is not None:
            self._losses.note("reasoning")
        effort = self._named_effort()
        return effort, budget_for(effort) if effort and effort != "none" else 0, "reasoning_effort"

    def _named_effort(self) -> str | None:
        effort = self._body.get("reasoning_effort")
        if effort is not None and effort not in EFFORTS:
            raise bad_request(
                f"Invalid value for 'reasoning_effort'. Supported values are: {', '.join(EFFORTS)}.",
                "reasoning_effort",
                "invalid_value",
            )
        return effort

    def _adaptive(self, effort: str, field_name: str) -> None:
        between = "thinking_budget" in self._caps
        if effort == "minimal":
            effort = "low"
        elif effort == "xhigh" and between:
            effort = "high"
        self._out.setdefault("output_config", {})["effort"] = effort
        if self._is_forced():
            # A forced tool leaves no room to think; the effort still counts.
            self._losses.note(field_name)
            return
        # The newest models leave the text of their thinking out unless asked.
        self._out["thinking"] = (
            {"type": "adaptive"} if between else {"type": "adaptive", "display": "summarized"}
        )

    def _is_forced(self) -> bool:
        return self._out.get("tool_choice", {}).get("type") in ("any", "tool")

    def _lacks_thoughts(self) -> bool:
        """True within a tool loop whose call was made without signed thinking: Anthropic refuses to think
        on in the middle of it."""
        turns = self._out["messages"]
        if turns[-1]["role"] == "assistant":
            # Nor can it think before continuing what it is said to have begun.
            return True
        if turns[-1]["content"][0]["type"] != "tool_result":
            return False
        before = next((t for t in reversed(turns[:-1]) if t["role"] == "assistant"), None)
        return before is None or before["content"][0]["type"] not in ("thinking", "redacted_thinking")

    # --- Sampling ---

    def _sampling(self) -> None:
        temperature = self._number("temperature", 2.0)
        top_p = self._number("top_p", 1.0)
        top_k = self._body.get("top_k")
        thinks = self._out.get("thinking", {}).get("type") in ("enabled", "adaptive")
        free = "sampling" in self._caps and not thinks
        if temperature is not None:
            if free:
                self._out["temperature"] = min(temperature, 1.0)
            if (free and temperature > 1) or (not free and temperature != 1):
                self._losses.note("temperature")
        if top_p is not None:
            # Newer models refuse both together; with thinking only the upper end is allowed.
            if "sampling" in self._caps and temperature is None and (not thinks or top_p >= 0.95):
                self._out["top_p"] = top_p
            elif top_p != 1:
                self._losses.note("top_p")
        if top_k is not None:
            if free and type(top_k) is int and top_k > 0:
                self._out["top_k"] = top_k
            else:
                self._losses.note("top_k")

    def _number(self, name: str, most: float) -> float | None:
        value = self._body.get(name)
        if value is None:
            return None
        if type(value) not in (int, float):
            raise wrong_type(name, "a decimal", value)
        if not 0 <= value <= most:
            raise bad_request(
                f"Invalid '{name}': expected a value between 0 and {most:g}.", name, "invalid_value"
            )
        return float(value)

    def _stop(self) -> None:
        stop = self._body.get("stop")
        if stop is None:
            return
        stops = [stop] if type(stop) is str else stop
        if type(stops) is not list or not all(type(s) is str for s in stops):
            raise wrong_type("stop", "a string or an array of strings", stop)
        kept = [s for s in stops if s.strip()]
        if len(kept) != len(stops):
            self._losses.note("stop")
        if kept:
            self._out["stop_sequences"] = kept

    # --- The rest ---

    def _who(self) -> None:
        body = self._body
        metadata = body.get("metadata")
        given = metadata.get("user_id") if type(metadata) is dict else None
        user = body.get("safety_identifier") or body.get("user") or given
        if type(user) is str and user:
            self._out["metadata"] = {"user_id": end_user(user, _USER_LIMIT)}
        if metadata and (type(metadata) is not dict or set(metadata) != {"user_id"}):
            self._losses.note("metadata")
        tier = body.get("service_tier")
        if tier is not None:
            if type(tier) is str and tier in _TIERS:
                self._out["service_tier"] = _TIERS[tier]
            else:
                self._losses.note("service_tier")

    def _limit_marks(self) -> None:
        """Keep the last cache marks: they cover the longest beginnings."""
        marked = [t for t in self._out.get("tools", ()) if "cache_control" in t]
        marked += [b for b in self._out.get("system", ()) if "cache_control" in b]
        for turn in self._out["messages"]:
            for block in turn["content"]:
                marked += [b for b in _inner(block) if "cache_control" in b]
                if "cache_control" in block:
                    marked.append(block)
        for block in marked[:-_MARKS]:
            del block["cache_control"]
            self._losses.note("cache_control")


_CHOICES = {"auto": "auto", "required": "any", "any": "any", "none": "none"}


def _inner(block: JsonObject) -> list[JsonObject]:
    content = block.get("content")
    return content if type(content) is list else []
