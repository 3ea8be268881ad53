"""What an upstream model can do, in words: from its catalogue row, or read from its name where none is known.

The words:

- Content: `tools`, `vision`, `documents` (PDF files), `audio`, `json_schema` (answers held to a schema).
- `reasoning`: the model reasons, and how much can be asked for.
- `reasoning_with_tools`: it does so over chat completions in a request that has tools.
- `sampling`: `temperature`, `top_p`, `top_k` and stop sequences are accepted.
- `thinking_budget`: `thinking: {type: enabled, budget_tokens}`; `thinking_adaptive`: `{type: adaptive}` with
  an effort; a model with both is of the generation between.
- `prefill`: a conversation may end with a turn of the assistant, which the model continues.
- `forced_tools`: a choice of tool may force the model to call one.
- `system_in_messages`: a system turn may stand within the conversation.
- `max_completion_tokens`: the cap goes by this name, and the instructions by the role `developer`.
- `effort_none`, `effort_minimal`, `effort_xhigh`, `effort_max`: these efforts besides low to high.
- `cache_breakpoints`: content parts may carry `prompt_cache_breakpoint`.

One word is a wish of the operators, which no name implies: `tools_over_responses`, that chat requests with
tools are asked over responses, where the provider has them.
"""

from __future__ import annotations

import re
from functools import lru_cache

from dialects.types import ModelFacts

# Words that say how a model wants to be asked. A row with none of them knows only content, as price lists
# do; the rest is then read from the name.
MANNERS = frozenset(
    {
        "reasoning_with_tools",
        "sampling",
        "thinking_budget",
        "thinking_adaptive",
        "prefill",
        "forced_tools",
        "system_in_messages",
        "max_completion_tokens",
        "effort_none",
        "effort_minimal",
        "effort_xhigh",
        "effort_max",
        "cache_breakpoints",
    }
)

# Words that say nothing of the model: a row with no others is as silent as an empty one.
WISHES = frozenset({"tools_over_responses"})

_CLAUDE = re.compile(
    r"claude-(?:(?P<old>\d)(?:[-.](?P<old_minor>\d))?-)?(?P<family>opus|sonnet|haiku|fable|mythos|instant)?"
    r"(?:-?(?P<major>\d{1,2})(?!\d)(?:[-.](?P<minor>\d{1,2})(?!\d))?)?"
)
_GPT = re.compile(r"(?:^|/)(?:ft:)?gpt-(?P<major>\d+)(?:\.(?P<minor>\d+))?(?P<rest>[^/]*)")
_O_SERIES = re.compile(r"(?:^|/)(?:ft:)?o\d+(?:-|$)")

# The cap sent when neither client, row nor name gives one: Anthropic requires a cap, every newer model allows
# this one, and a low one would cut answers short without a word.
DEFAULT_MAX_OUTPUT = 32000
# What a Claude model is asked for at most where the client sets no cap: every one since 4.5 takes it, while
# which of the newer ones take twice as much no name tells for sure.
USUAL_MAX_OUTPUT = 64_000

# Qwen 3's coders, embedders and later instruct models answer at once.
_FOREIGN_REASONING = re.compile(
    r"gpt-oss|deepseek-r|qwq|magistral|qwen3(?!-coder|-embed|-rerank)(?!.*instruct)"
)

_CONTENT = frozenset({"tools", "vision", "documents", "json_schema"})
_ALWAYS = frozenset({"forced_tools"})
# A server of unknown make: everything is passed on, only what few such servers have is left out.
_FOREIGN = frozenset(
    {
        "tools",
        "vision",
        "documents",
        "audio",
        "json_schema",
        "sampling",
        "prefill",
        "forced_tools",
        "reasoning_with_tools",
    }
)


def resolve(model: ModelFacts) -> frozenset[str]:
    """The capabilities of a model: its row's words, completed from its name where the row is silent."""
    known = model.capabilities
    if known <= WISHES:
        return known | capabilities_of(model.name)
    if known & MANNERS:
        return known
    named = capabilities_of(model.name)
    return known | (named & MANNERS) | (named & {"reasoning", "json_schema"})


def tools_end_reasoning(model: ModelFacts) -> bool:
    """True of a model that reasons, but over chat completions not in a request that has tools."""
    words = resolve(model)
    return "reasoning" in words and "reasoning_with_tools" not in words


def asks_for_responses(model: ModelFacts) -> bool:
    """True where the operators have said that chat requests with tools go over responses."""
    return "tools_over_responses" in model.capabilities


@lru_cache(maxsize=1024)
def capabilities_of(name: str) -> frozenset[str]:
    """Capabilities by the model's name alone, vendor prefixes and dates allowed."""
    name = name.lower()
    claude = claude_version(name)
    if claude is not None:
        return _claude(name, claude)
    if _O_SERIES.search(name):
        return _CONTENT | _ALWAYS | {"reasoning", "reasoning_with_tools", "max_completion_tokens"}
    gpt = _GPT.search(name)
    if gpt:
        return _gpt((int(gpt["major"]), int(gpt["minor"] or 0)), gpt["rest"])
    if _FOREIGN_REASONING.search(name):
        return _FOREIGN | {"reasoning"}
    return _FOREIGN


@lru_cache(maxsize=1024)
def max_output_of(name: str) -> int | None:
    """The most tokens a Claude or GPT model may be asked for, where its name tells; None for all others.
    More than that is a 400 there, and clients of the other family do ask for more."""
    name = name.lower()
    version = claude_version(name)
    if version is not None:
        return _claude_output(name, version)
    return next((most for pattern, most in _GPT_OUTPUT if re.search(pattern, name)), None)


_GPT_OUTPUT: tuple[tuple[str, int], ...] = (
    (r"gpt-5-chat|gpt-4o", 16384),
    (r"gpt-5", 128_000),
    (r"(^|/)o1-mini", 65536),
    (r"(^|/)o1-preview", 32768),
    (r"(^|/)o\d+(-|$)", 100_000),
    (r"gpt-4\.1", 32768),
    (r"gpt-4-turbo|gpt-3\.5", 4096),
    (r"gpt-4(-\d{4})?$", 8192),
)


def _claude_output(name: str, version: tuple[int, int]) -> int | None:
    if version > (5, 99):
        return None
    if version >= (4, 6):
        return 128_000
    if version < (3, 5):
        return 4096
    if version < (3, 7):
        return 8192
    return 32000 if (4, 0) <= version < (4, 5) and "opus" in name else 64000


def claude_version(name: str) -> tuple[int, int] | None:
    """(major, minor) of a Claude model, None for any other. An unnumbered name counts as the newest."""
    if "claude" not in name:
        return None
    found = _CLAUDE.search(name)
    if found is None:
        return (99, 0)
    if found["old"]:
        return int(found["old"]), int(found["old_minor"] or 0)
    if found["major"]:
        return int(found["major"]), int(found["minor"] or 0)
    return (1, 0) if found["family"] == "instant" else (99, 0)


def _claude(name: str, version: tuple[int, int]) -> frozenset[str]:
    words = {"tools", "forced_tools"}
    if version >= (3, 0):
        words.add("vision")
    if version >= (3, 5):
        words.add("documents")
    if version >= (4, 5) or (version == (4, 1) and "opus" in name):
        words.add("json_schema")
    newest = version >= (4, 7) or "fable" in name or "mythos" in name
    # Who serves it by chat completions lets it think and call tools.
    thinks = {"reasoning", "reasoning_with_tools"}
    if newest:
        words |= thinks | {"thinking_adaptive", "system_in_messages"}
        if version == (5, 1) and ("fable" in name or "mythos" in name):
            words.discard("forced_tools")
        return frozenset(words)
    words.add("sampling")
    if version >= (4, 6):
        words |= thinks | {"thinking_adaptive", "thinking_budget"}
        return frozenset(words)
    words.add("prefill")
    if version >= (3, 7):
        words |= thinks | {"thinking_budget"}
    return frozenset(words)


def _gpt(version: tuple[int, int], rest: str) -> frozenset[str]:
    words = set(_CONTENT | _ALWAYS)
    if version < (5, 0) or "chat" in rest:
        # "gpt-5-chat" and its like answer without reasoning.
        words |= {"sampling", "reasoning_with_tools"}
        if "audio" in rest:
            words.add("audio")
        if version < (4, 0):
            words -= {"vision", "documents", "json_schema"}
        return frozenset(words)
    words |= {"reasoning", "max_completion_tokens"}
    if version < (5, 1):
        words.add("effort_minimal")
    else:
        words.add("effort_none")
    if version < (5, 4):
        words.add("reasoning_with_tools")
    if version >= (5, 4) or "codex-max" in rest:
        words.add("effort_xhigh")
    if version >= (5, 6):
        words |= {"effort_max", "cache_breakpoints"}
    return frozenset(words)
