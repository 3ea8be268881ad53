"""What Anthropic refuses of the messages: roles and their order, blocks, pictures, tool uses and results,
thinking."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

from anthropic.types import ContentBlockParam

from tests.support.upstream.models import ClaudeModel
from tests.support.upstream.refused import RefusedError, image_type, tag, unbase64
from tests.support.upstream.signing import redacted_is_ours, signature

_BLOCKS = {
    get_args(hints["type"])[0]: frozenset(hints) for hints in map(get_type_hints, get_args(ContentBlockParam))
}
_RESULT_BLOCKS = ("text", "image", "document", "search_result")
_ASSISTANT_ONLY = ("thinking", "redacted_thinking", "tool_use")
_USER_ONLY = ("image", "tool_result")
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,200}")
_MEDIA = ("image/jpeg", "image/png", "image/gif", "image/webp")
_EMPTY_TEXT = "text content blocks must be non-empty"


def check_system(system: Any) -> None:
    """A string, or text blocks with text."""
    if system is None or isinstance(system, str):
        return
    if not isinstance(system, list):
        raise RefusedError("system: Input should be a valid string or list")
    for index, block in enumerate(system):
        if not isinstance(block, dict) or block.get("type") != "text":
            raise RefusedError(f"system.{index}.type: Input should be 'text'")
        _check_block(block, "system", f"system.{index}")


def check_messages_list(messages: Any, model: ClaudeModel) -> None:
    """Each message, their order, and that calls and results pair up."""
    if not isinstance(messages, list):
        raise RefusedError("messages: Input should be a valid list")
    if not messages:
        raise RefusedError("messages: at least one message is required")
    for index, message in enumerate(messages):
        _check_message(message, index, last=index == len(messages) - 1)
    if messages[0]["role"] != "user":
        raise RefusedError('messages: first message must use the "user" role')
    _check_system_turns(messages, model)
    _check_last(messages[-1], model)
    _check_pairs(messages)


def blocks_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The content as blocks."""
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _check_message(message: Any, index: int, *, last: bool) -> None:
    where = f"messages.{index}"
    if not isinstance(message, dict):
        raise RefusedError(f"{where}: Input should be a valid dictionary")
    for key in message:
        if key not in ("role", "content"):
            raise RefusedError(f"{where}.{key}: Extra inputs are not permitted")
    for key in ("role", "content"):
        if key not in message:
            raise RefusedError(f"{where}.{key}: Field required")
    role, content = message["role"], message["content"]
    if role not in ("user", "assistant", "system"):
        raise RefusedError(f'messages: Unexpected role "{role}". Allowed roles are "user" or "assistant"')
    if not isinstance(content, str | list):
        raise RefusedError(f"{where}.content: Input should be a valid string or list")
    _check_empty(content, where, may_be_empty=last and role == "assistant")
    for at, block in enumerate(content if isinstance(content, list) else ()):
        _check_block(block, role, f"{where}.content.{at}")


def _check_empty(content: Any, where: str, *, may_be_empty: bool) -> None:
    if not content and not may_be_empty:
        raise RefusedError(
            f"{where}: all messages must have non-empty content except for the optional final assistant "
            "message"
        )
    if isinstance(content, str) and content and not content.strip():
        raise RefusedError("messages: text content blocks must contain non-whitespace text")


def _check_block(block: Any, role: str, where: str) -> None:
    kind = tag(block.get("type")) if isinstance(block, dict) else None
    if kind is None or kind not in _BLOCKS:
        tags = ", ".join(f"'{tag}'" for tag in _BLOCKS)
        raise RefusedError(
            f"{where}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {tags}"
        )
    if (role != "assistant" and kind in _ASSISTANT_ONLY) or (role == "assistant" and kind in _USER_ONLY):
        others = "assistant" if kind in _ASSISTANT_ONLY else "user"
        raise RefusedError(f"{where}: `{kind}` blocks can only be in `{others}` messages")
    for key in block:
        if key not in _BLOCKS[kind]:
            raise RefusedError(f"{where}.{kind}.{key}: Extra inputs are not permitted")
    checks: dict[str, Callable[[dict[str, Any], str], None]] = {
        "text": _check_text,
        "image": _check_image,
        "document": _check_document,
        "tool_use": _check_tool_use,
        "tool_result": _check_tool_result,
        "thinking": _check_thinking,
        "redacted_thinking": _check_redacted,
    }
    if kind in checks:
        checks[kind](block, f"{where}.{kind}")
    _check_mark(block.get("cache_control"), f"{where}.{kind}.cache_control")


def _check_mark(mark: Any, where: str) -> None:
    if mark is None:
        return
    if not isinstance(mark, dict) or mark.get("type") != "ephemeral":
        raise RefusedError(f"{where}: Input should be a valid cache control of type 'ephemeral'")
    if mark.get("ttl") not in (None, "5m", "1h"):
        raise RefusedError(f"{where}.ephemeral.ttl: Input should be '5m' or '1h'")


def _check_text(block: dict[str, Any], where: str) -> None:
    text = block.get("text")
    if not isinstance(text, str):
        raise RefusedError(
            f"{where}.text: {'Field required' if text is None else 'Input should be a valid string'}"
        )
    if not text and block.get("cache_control") is not None:
        raise RefusedError(f"{where}: cache_control cannot be set for empty text blocks")
    if not text:
        raise RefusedError(f"{where.partition('.')[0]}: {_EMPTY_TEXT}")
    if not text.strip():
        raise RefusedError(f"{where.partition('.')[0]}: text content blocks must contain non-whitespace text")


def _source(block: dict[str, Any], kinds: tuple[str, ...], where: str) -> dict[str, Any]:
    source = block.get("source")
    kind = tag(source.get("type")) if isinstance(source, dict) else None
    if not isinstance(source, dict) or kind not in kinds:
        tags = ", ".join(f"'{tag}'" for tag in kinds)
        raise RefusedError(
            f"{where}.source: Input tag '{kind}' found using 'type' does not match any of the expected tags: "
            f"{tags}"
        )
    return source


def _check_image(block: dict[str, Any], where: str) -> None:
    source = _source(block, ("base64", "url", "file"), where)
    if source["type"] == "url" and not str(source.get("url")).startswith(("https://", "http://")):
        raise RefusedError(f"{where}.source.url.url: Only HTTPS URLs are supported.")
    if source["type"] != "base64":
        return
    declared = source.get("media_type")
    if declared not in _MEDIA:
        raise RefusedError(
            f"{where}.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or "
            "'image/webp'"
        )
    data = unbase64(source.get("data"))
    if data is None:
        raise RefusedError(f"{where}.source.base64.data: invalid base64 data")
    real = image_type(data)
    if real is None:
        raise RefusedError(f"{where}.source.base64.data: Could not process image")
    if real != declared:
        raise RefusedError(
            f"{where}.source.base64: The image was specified using the {declared} media type, but the image "
            "appears to "
            f"be a {real} image"
        )


def _check_document(block: dict[str, Any], where: str) -> None:
    source = _source(block, ("base64", "text", "content", "url", "file"), where)
    wanted = {"base64": "application/pdf", "text": "text/plain"}.get(source["type"])
    if wanted is not None and source.get("media_type") != wanted:
        raise RefusedError(f"{where}.source.{source['type']}.media_type: Input should be '{wanted}'")
    if source["type"] == "base64" and not (unbase64(source.get("data")) or b"").startswith(b"%PDF"):
        raise RefusedError(f"{where}.source.base64.data: The PDF specified was not valid.")
    if source["type"] == "text" and not source.get("data"):
        raise RefusedError(f"{where}.source.text.data: String should have at least 1 character")


def _check_tool_use(block: dict[str, Any], where: str) -> None:
    for key in ("id", "name", "input"):
        if key not in block:
            raise RefusedError(f"{where}.{key}: Field required")
    if not isinstance(block["id"], str) or not _ID.fullmatch(block["id"]):
        raise RefusedError(f"{where}.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
    if not isinstance(block["name"], str) or not _NAME.fullmatch(block["name"]):
        raise RefusedError(f"{where}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,200}}$'")
    if not isinstance(block["input"], dict):
        raise RefusedError(f"{where}.input: Input should be a valid dictionary")


def _check_tool_result(block: dict[str, Any], where: str) -> None:
    if not isinstance(block.get("tool_use_id"), str):
        raise RefusedError(f"{where}.tool_use_id: Field required")
    if not _ID.fullmatch(block["tool_use_id"]):
        raise RefusedError(f"{where}.tool_use_id: String should match pattern '^[a-zA-Z0-9_-]+$'")
    if not isinstance(block.get("is_error", False), bool | None):
        raise RefusedError(f"{where}.is_error: Input should be a valid boolean")
    content = block.get("content")
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise RefusedError(f"{where}.content: Input should be a valid string or list")
    for index, part in enumerate(content):
        if not isinstance(part, dict) or part.get("type") not in _RESULT_BLOCKS:
            tags = ", ".join(f"'{tag}'" for tag in _RESULT_BLOCKS)
            raise RefusedError(
                f"{where}.content.{index}: Input tag found using 'type' does not match any of: {tags}"
            )
        _check_block(part, "user", f"{where}.content.{index}")


def _check_thinking(block: dict[str, Any], where: str) -> None:
    for key in ("thinking", "signature"):
        if not isinstance(block.get(key), str):
            raise RefusedError(f"{where}.{key}: Field required")
    if block["signature"] != signature(block["thinking"]):
        raise RefusedError(f"{where.removesuffix('.thinking')}: Invalid `signature` in `thinking` block")


def _check_redacted(block: dict[str, Any], where: str) -> None:
    if not isinstance(block.get("data"), str) or not redacted_is_ours(block["data"]):
        raise RefusedError(
            f"{where.removesuffix('.redacted_thinking')}: Invalid `data` in `redacted_thinking` block"
        )


def _check_system_turns(messages: list[dict[str, Any]], model: ClaudeModel) -> None:
    """The newest models take a system turn after a user turn, last or before an assistant turn."""
    for index, message in enumerate(messages):
        if message["role"] != "system":
            continue
        after = messages[index + 1]["role"] if index + 1 < len(messages) else "assistant"
        if model.generation != "M" or messages[index - 1]["role"] != "user" or after != "assistant":
            raise RefusedError(
                'messages: Unexpected role "system". The Messages API accepts a top-level `system` '
                'parameter, not "system" as an input message role.'
            )


def _check_last(message: dict[str, Any], model: ClaudeModel) -> None:
    if message["role"] != "assistant":
        return
    if model.generation != "L":
        raise RefusedError(
            "This model does not support assistant message prefill. The conversation must end with a user "
            "message."
        )
    last = (blocks_of(message) or [{"type": "none"}])[-1]
    if last["type"] == "text" and last["text"] != last["text"].rstrip():
        raise RefusedError("messages: final assistant content cannot end with trailing whitespace")


def _turns(messages: list[dict[str, Any]]) -> list[tuple[int, str, list[dict[str, Any]]]]:
    """Consecutive messages of one role as one turn, as the API joins them: (index of its first, role,
    blocks)."""
    turns: list[tuple[int, str, list[dict[str, Any]]]] = []
    for index, message in enumerate(messages):
        if turns and turns[-1][1] == message["role"]:
            turns[-1][2].extend(blocks_of(message))
        else:
            turns.append((index, message["role"], list(blocks_of(message))))
    return turns


def _check_pairs(messages: list[dict[str, Any]]) -> None:
    """Each tool_use is answered by a tool_result at the beginning of the next turn, and nothing else is."""
    waiting: list[str] = []
    before = 0
    for index, role, blocks in _turns(messages):
        results = _leading_results(blocks) if role == "user" else []
        left = [use for use in waiting if use not in results]
        if left:
            raise RefusedError(
                f"messages.{before}: `tool_use` ids were found without `tool_result` blocks immediately "
                f"after: {', '.join(left)}. "
                "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
            )
        for at, block in enumerate(blocks):
            if block["type"] == "tool_result" and block["tool_use_id"] not in waiting:
                raise RefusedError(
                    f"messages.{index}.content.{at}: unexpected `tool_use_id` found in `tool_result` blocks: "
                    f"{block['tool_use_id']}. Each `tool_result` block must have a corresponding `tool_use` "
                    "block in the "
                    "previous message."
                )
        if len(set(results)) < len(results):
            raise RefusedError(f"messages.{index}.content: each tool_use must have a single result.")
        waiting = [block["id"] for block in blocks if block["type"] == "tool_use"]
        before = index
        if len(set(waiting)) < len(waiting):
            raise RefusedError("messages: `tool_use` ids must be unique")
    if waiting:
        raise RefusedError(
            f"messages.{before}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(waiting)}. "
            "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
        )


def _leading_results(blocks: list[dict[str, Any]]) -> list[str]:
    results = []
    for block in blocks:
        if block["type"] != "tool_result":
            break
        results.append(block["tool_use_id"])
    return results


def check_thinking_history(messages: list[dict[str, Any]]) -> None:
    """With legacy thinking on, the assistant turn of a running tool loop, or a prefill, begins with
    thinking."""
    last = messages[-1]
    in_loop = last["role"] == "user" and any(block["type"] == "tool_result" for block in blocks_of(last))
    if last["role"] != "assistant" and not in_loop:
        return
    index, _, blocks = next(turn for turn in reversed(_turns(messages)) if turn[1] == "assistant")
    if blocks and blocks[0]["type"] not in ("thinking", "redacted_thinking"):
        raise RefusedError(
            f"messages.{index}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
            f"`{blocks[0]['type']}`. "
            "When `thinking` is enabled, a final `assistant` message must start with a thinking block "
            "(preceeding the "
            "lastmost set of `tool_use` and `tool_result` blocks). We recommend you include thinking blocks "
            "from previous "
            "turns. To avoid this requirement, disable `thinking`."
        )
