"""One sample for each field and kind of content that clients send, for the table of what becomes of them."""

from __future__ import annotations

from dialects.types import JsonObject

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
URL = "https://example.com/a.png"
PDF = "JVBERi0xLjQKJSVFT0YK"
SCHEMA: JsonObject = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}

# What each sample is added to: the least that the dialect takes.
MINIMAL: dict[str, JsonObject] = {
    "chat": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    "messages": {"model": "m", "max_tokens": 3000, "messages": [{"role": "user", "content": "hi"}]},
    "responses": {"model": "m", "input": "hi"},
    "completions": {"model": "m", "prompt": "hi"},
    "embeddings": {"model": "m", "input": "hi"},
}

_TOOL: JsonObject = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
_CALL: JsonObject = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def _chat(*content: JsonObject) -> JsonObject:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}, *content]}]}


def _chat_loop(result: JsonObject, **turn: object) -> JsonObject:
    """A conversation with a call of a tool and its result."""
    return {
        "tools": [_TOOL],
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": None, "tool_calls": [_CALL], **turn},
            {"role": "tool", "tool_call_id": "call_1", **result},
        ],
    }


CHAT: dict[str, JsonObject] = {
    "audio": {"audio": {"voice": "alloy", "format": "wav"}},
    "frequency_penalty": {"frequency_penalty": 0.5},
    "function_call": {"functions": [{"name": "f", "parameters": SCHEMA}], "function_call": {"name": "f"}},
    "functions": {"functions": [{"name": "f", "parameters": SCHEMA}]},
    "logit_bias": {"logit_bias": {"50256": -100}},
    "logprobs": {"logprobs": True},
    "max_completion_tokens": {"max_completion_tokens": 500},
    "max_tokens": {"max_tokens": 500},
    "metadata": {"metadata": {"trace": "t"}},
    "modalities (audio)": {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
    "moderation": {"moderation": {"model": "omni-moderation-latest"}},
    "n (above 1)": {"n": 2},
    "parallel_tool_calls": {"tools": [_TOOL], "parallel_tool_calls": False},
    "prediction": {"prediction": {"type": "content", "content": "hi"}},
    "presence_penalty": {"presence_penalty": 0.5},
    "prompt_cache_key": {"prompt_cache_key": "k"},
    "prompt_cache_options": {"prompt_cache_options": {"ttl": "30m"}},
    "prompt_cache_retention": {"prompt_cache_retention": "24h"},
    "reasoning_effort": {"reasoning_effort": "low", "max_tokens": 3000},
    "response_format (json_object)": {"response_format": {"type": "json_object"}},
    "response_format (json_schema)": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
    },
    "safety_identifier": {"safety_identifier": "u-1"},
    "seed": {"seed": 7},
    "service_tier": {"service_tier": "default"},
    "stop": {"stop": ["END"]},
    "store": {"store": True},
    "stream_options.include_usage": {"stream": True, "stream_options": {"include_usage": True}},
    "temperature": {"temperature": 0.5},
    "temperature (above 1)": {"temperature": 1.5},
    "tool_choice": {"tools": [_TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
    "tools": {"tools": [_TOOL]},
    "tools (custom)": {"tools": [{"type": "custom", "custom": {"name": "c"}}]},
    "tools.function.strict": {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}}]
    },
    "top_logprobs": {"logprobs": True, "top_logprobs": 3},
    "top_p": {"top_p": 0.5},
    "user": {"user": "u-1"},
    "verbosity": {"verbosity": "low"},
    "web_search_options": {"web_search_options": {}},
    "an unknown field": {"shiny_new_knob": 1},
    "image by URL": _chat({"type": "image_url", "image_url": {"url": URL}}),
    "image as base64": _chat({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}),
    "image's `detail`": _chat(
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}}
    ),
    "PDF file": _chat(
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}}
    ),
    "file by id": _chat({"type": "file", "file": {"file_id": "file-1"}}),
    "audio input": _chat({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}),
    "developer turn": {
        "messages": [{"role": "developer", "content": "be brief"}, {"role": "user", "content": "hi"}]
    },
    "turn's `name`": {"messages": [{"role": "user", "name": "ann", "content": "hi"}]},
    "tool call and result": _chat_loop({"content": "42"}),
    "image in a tool result": _chat_loop(
        {"content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]}
    ),
    "`reasoning_content` sent back": _chat_loop({"content": "42"}, reasoning_content="hm"),
}


def _messages(*content: JsonObject) -> JsonObject:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}, *content]}]}


def _messages_loop(*before: JsonObject, **result: object) -> JsonObject:
    """A conversation with a call of a tool and its result; `before` stands before the call."""
    use = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
    answer = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "42", **result}
    return {
        "tools": [{"name": "f", "input_schema": SCHEMA}],
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [*before, use]},
            {"role": "user", "content": [answer]},
        ],
    }


_BASE64_PNG: JsonObject = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": PNG},
}

MESSAGES: dict[str, JsonObject] = {
    "cache_control": {"cache_control": {"type": "ephemeral"}},
    "container": {"container": "c-1"},
    "context_management": {"context_management": {"edits": []}},
    "diagnostics": {"diagnostics": {"previous_message_id": "msg_1"}},
    "inference_geo": {"inference_geo": "us"},
    "max_tokens": {"max_tokens": 500},
    "mcp_servers": {"mcp_servers": [{"type": "url", "url": "https://example.com", "name": "s"}]},
    "metadata.user_id": {"metadata": {"user_id": "u-1"}},
    "output_config.effort": {"output_config": {"effort": "low"}},
    "output_config.format": {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    "service_tier": {"service_tier": "standard_only"},
    "speed": {"speed": "fast"},
    "stop_sequences": {"stop_sequences": ["END"]},
    "system": {"system": "be brief"},
    "temperature": {"temperature": 0.5},
    "thinking": {"thinking": {"type": "enabled", "budget_tokens": 2000}},
    "tool_choice": {
        "tools": [{"name": "f", "input_schema": SCHEMA}],
        "tool_choice": {"type": "tool", "name": "f"},
    },
    "tool_choice.disable_parallel_tool_use": {
        "tools": [{"name": "f", "input_schema": SCHEMA}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    },
    "tools": {"tools": [{"name": "f", "input_schema": SCHEMA}]},
    "tools (of the server)": {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
    "tools.strict": {"tools": [{"name": "f", "input_schema": SCHEMA, "strict": True}]},
    "top_k": {"top_k": 5},
    "top_p": {"top_p": 0.5},
    "user_profile_id": {"user_profile_id": "p-1"},
    "workspace_id": {"workspace_id": "w-1"},
    "an unknown field": {"shiny_new_knob": 1},
    "image by URL": _messages({"type": "image", "source": {"type": "url", "url": URL}}),
    "image as base64": _messages(_BASE64_PNG),
    "document (PDF)": _messages(
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}}
    ),
    "document (text)": _messages(
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hi"}}
    ),
    "document's `citations`": _messages(
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "hi"},
            "citations": {"enabled": True},
        }
    ),
    "file by id": _messages({"type": "image", "source": {"type": "file", "file_id": "file_1"}}),
    "content's `cache_control`": _messages(
        {"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}}
    ),
    "prefilled answer": {
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Well"}]
    },
    "tool use and result": _messages_loop(),
    "tool result with `is_error`": _messages_loop(is_error=True),
    "image in a tool result": _messages_loop(content=[_BASE64_PNG]),
    "signed thinking sent back": _messages_loop({"type": "thinking", "thinking": "hm", "signature": "c2ln"}),
    "redacted thinking sent back": _messages_loop({"type": "redacted_thinking", "data": "c2ln"}),
}

_FUNCTION: JsonObject = {"type": "function", "name": "f", "parameters": SCHEMA, "strict": False}


def _input(*content: JsonObject) -> JsonObject:
    return {"input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}, *content]}]}


RESPONSES: dict[str, JsonObject] = {
    "access_programs": {"access_programs": ["p"]},
    "background": {"background": True},
    "background_options": {"background_options": {"ttl": 60}},
    "context_management": {"context_management": [{"type": "compaction"}]},
    "conversation": {"conversation": "conv_1"},
    "image": {"image": {"model": "gpt-image-1"}},
    "include (encrypted reasoning)": {"include": ["reasoning.encrypted_content"]},
    "include (other)": {"include": ["file_search_call.results"]},
    "instructions": {"instructions": "be brief"},
    "max_output_tokens": {"max_output_tokens": 500},
    "max_tool_calls": {"max_tool_calls": 3},
    "metadata": {"metadata": {"trace": "t"}},
    "moderation": {"moderation": {"model": "omni-moderation-latest"}},
    "parallel_tool_calls": {"tools": [_FUNCTION], "parallel_tool_calls": False},
    "previous_response_id": {"previous_response_id": "resp_1"},
    "prompt": {"prompt": {"id": "pmpt_1"}},
    "prompt_cache_key": {"prompt_cache_key": "k"},
    "prompt_cache_options": {"prompt_cache_options": {"ttl": "30m"}},
    "prompt_cache_retention": {"prompt_cache_retention": "24h"},
    "reasoning.effort": {"reasoning": {"effort": "low"}},
    "reasoning.summary": {"reasoning": {"summary": "auto"}},
    "safety_identifier": {"safety_identifier": "u-1"},
    "service_tier": {"service_tier": "default"},
    "store": {"store": True},
    "stream_options.include_obfuscation": {"stream": True, "stream_options": {"include_obfuscation": False}},
    "temperature": {"temperature": 0.5},
    "text.format (json_schema)": {"text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}}},
    "text.verbosity": {"text": {"verbosity": "low"}},
    "tool_choice": {"tools": [_FUNCTION], "tool_choice": {"type": "function", "name": "f"}},
    "tools": {"tools": [_FUNCTION]},
    "tools (custom)": {"tools": [{"type": "custom", "name": "c"}]},
    "tools (of the server)": {"tools": [{"type": "web_search"}]},
    "top_logprobs": {"top_logprobs": 3, "include": ["message.output_text.logprobs"]},
    "top_p": {"top_p": 0.5},
    "truncation": {"truncation": "auto"},
    "user": {"user": "u-1"},
    "an unknown field": {"shiny_new_knob": 1},
    "image by URL": _input({"type": "input_image", "image_url": URL}),
    "image as base64": _input({"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}),
    "PDF file": _input(
        {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}
    ),
    "file by id": _input({"type": "input_file", "file_id": "file-1"}),
    "function call and output": {
        "tools": [_FUNCTION],
        "input": [
            {"role": "user", "content": "hi"},
            {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "42"},
        ],
    },
    "item by reference": {"input": [{"type": "item_reference", "id": "msg_1"}]},
}

COMPLETIONS: dict[str, JsonObject] = {
    "best_of": {"best_of": 2},
    "echo": {"echo": True},
    "frequency_penalty": {"frequency_penalty": 0.5},
    "logit_bias": {"logit_bias": {"50256": -100}},
    "logprobs": {"logprobs": 3},
    "max_tokens": {"max_tokens": 500},
    "n (above 1)": {"n": 2},
    "presence_penalty": {"presence_penalty": 0.5},
    "prompt (several)": {"prompt": ["hi", "ho"]},
    "prompt (tokens)": {"prompt": [1, 2, 3]},
    "seed": {"seed": 7},
    "stop": {"stop": ["END"]},
    "stream_options.include_usage": {"stream": True, "stream_options": {"include_usage": True}},
    "suffix": {"suffix": "!"},
    "temperature": {"temperature": 0.5},
    "top_p": {"top_p": 0.5},
    "user": {"user": "u-1"},
    "an unknown field": {"shiny_new_knob": 1},
}

EMBEDDINGS: dict[str, JsonObject] = {
    "dimensions": {"dimensions": 256},
    "encoding_format (base64)": {"encoding_format": "base64"},
    "input (several)": {"input": ["hi", "ho"]},
    "input (tokens)": {"input": [1, 2, 3]},
    "user": {"user": "u-1"},
    "an unknown field": {"shiny_new_knob": 1},
}

SAMPLES: dict[str, dict[str, JsonObject]] = {
    "chat": CHAT,
    "messages": MESSAGES,
    "responses": RESPONSES,
    "completions": COMPLETIONS,
    "embeddings": EMBEDDINGS,
}
