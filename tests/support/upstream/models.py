"""What each provider's models can do, by name: the facts that decide which fields are refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

EFFORTS_O = ("low", "medium", "high")
EFFORTS_5 = ("minimal", *EFFORTS_O)
EFFORTS_51 = ("none", *EFFORTS_O)
EFFORTS_54 = ("none", *EFFORTS_O, "xhigh")


@dataclass(frozen=True, slots=True)
class OpenAIModel:
    """`efforts` is empty for a model that does not reason; `tools_need`: "always" or "set" when function
    tools clash with reasoning (see the rules), "" when they do not. Limits in tokens."""

    kind: Literal["chat", "completion", "embedding"]
    context: int
    max_output: int
    efforts: tuple[str, ...] = ()
    tools_clash: Literal["", "set", "always"] = ""
    width: int = 0

    @property
    def reasons(self) -> bool:
        return bool(self.efforts)


_OPENAI: tuple[tuple[str, OpenAIModel], ...] = (
    (r"gpt-5-chat.*", OpenAIModel("chat", 128_000, 16_384)),
    (r"gpt-5\.[5-9].*", OpenAIModel("chat", 400_000, 128_000, (*EFFORTS_54, "max"), "always")),
    (r"gpt-5\.4.*", OpenAIModel("chat", 400_000, 128_000, EFFORTS_54, "set")),
    (r"gpt-5\.[1-3].*", OpenAIModel("chat", 400_000, 128_000, EFFORTS_51)),
    (r"gpt-5(-mini|-nano)?(-\d{4}.*)?", OpenAIModel("chat", 400_000, 128_000, EFFORTS_5)),
    (r"o[134](-mini|-pro)?(-\d{4}.*)?", OpenAIModel("chat", 200_000, 100_000, EFFORTS_O)),
    (r"gpt-4\.1.*", OpenAIModel("chat", 1_047_576, 32_768)),
    (r"(gpt-4o|chatgpt-4o).*", OpenAIModel("chat", 128_000, 16_384)),
    (r"gpt-4-turbo.*", OpenAIModel("chat", 128_000, 4_096)),
    (r"gpt-4(-\d{4})?", OpenAIModel("chat", 8_192, 8_192)),
    (r"gpt-3\.5-turbo-instruct.*|davinci-002|babbage-002", OpenAIModel("completion", 16_384, 16_384)),
    (r"gpt-3\.5-turbo.*", OpenAIModel("chat", 16_385, 4_096)),
    (r"text-embedding-3-large", OpenAIModel("embedding", 8_192, 0, width=3072)),
    (r"text-embedding-(3-small|ada-002)", OpenAIModel("embedding", 8_192, 0, width=1536)),
)
OPENAI_LIST = (
    "gpt-4o-mini", "gpt-4o", "gpt-4.1", "gpt-5", "gpt-5-mini", "gpt-5.4", "gpt-5.5", "o3-mini", "o4-mini",
    "gpt-3.5-turbo-instruct", "text-embedding-3-small", "text-embedding-3-large",
)  # fmt: skip


def openai_model(name: str) -> OpenAIModel | None:
    """The facts of an OpenAI model, fine-tuned ones by their base; None: there is no such model."""
    base = name.split(":")[1] if name.startswith("ft:") and name.count(":") else name
    return next((facts for pattern, facts in _OPENAI if re.fullmatch(pattern, base)), None)


@dataclass(frozen=True, slots=True)
class ClaudeModel:
    """`generation`: "L" sampling, legacy thinking, prefill; "T" also adaptive thinking, no prefill; "M"
    neither sampling, legacy thinking nor prefill. `version` is (major, minor)."""

    line: str
    version: tuple[int, int]
    generation: Literal["L", "T", "M"]
    max_output: int
    context: int = 200_000

    @property
    def thinks(self) -> bool:
        return self.version >= (3, 7)

    @property
    def structured(self) -> bool:
        return self.version >= (4, 5) or (self.line, self.version) == ("opus", (4, 1))

    @property
    def forced_tools(self) -> bool:
        return not (self.line in ("fable", "mythos") and self.version >= (5, 1))

    @property
    def one_sampling_knob(self) -> bool:
        """Temperature and top_p exclude each other."""
        return self.version >= (4, 5) or (self.line, self.version) == ("opus", (4, 1))

    @property
    def efforts(self) -> tuple[str, ...]:
        if self.generation == "M":
            return ("low", "medium", "high", "xhigh", "max")
        if self.generation == "T":
            return ("low", "medium", "high", "max")
        return ("low", "medium", "high") if (self.line, self.version) == ("opus", (4, 5)) else ()


CLAUDE_LIST = (
    "claude-opus-4-7", "claude-sonnet-5", "claude-opus-4-6", "claude-sonnet-4-6", "claude-opus-4-5",
    "claude-sonnet-4-5", "claude-haiku-4-5", "claude-fable-5-1",
)  # fmt: skip
_CLAUDE_NEW = re.compile(r"claude-(haiku|sonnet|opus|fable|mythos)-(\d)(?:-(\d{1,2}))?(?:-(?:\d{8}|latest))?")
_CLAUDE_OLD = re.compile(r"claude-3(?:-([57]))?-(haiku|sonnet|opus)(?:-(?:\d{8}|latest))?")
_OUTPUT = (((4, 6), 128_000), ((4, 5), 64_000), ((3, 7), 64_000), ((3, 5), 8_192), ((3, 0), 4_096))


def claude_model(name: str) -> ClaudeModel | None:
    """The facts of a Claude model by its name; None: there is no such model."""
    if new := _CLAUDE_NEW.fullmatch(name):
        line, version = new[1], (int(new[2]), int(new[3] or 0))
    elif old := _CLAUDE_OLD.fullmatch(name):
        line, version = old[2], (3, int(old[1] or 0))
    else:
        return None
    generation: Literal["L", "T", "M"] = "L"
    if version >= (4, 7) or line in ("fable", "mythos"):
        generation = "M"
    elif version == (4, 6):
        generation = "T"
    return ClaudeModel(
        line, version, generation, next(out for at_least, out in _OUTPUT if version >= at_least)
    )


_OLLAMA: dict[str, tuple[str, ...]] = {
    "llama3.2": ("completion", "tools"),
    "llama3.2-vision": ("completion", "vision"),
    "gemma3": ("completion", "vision"),
    "qwen3": ("completion", "tools", "thinking"),
    "gpt-oss": ("completion", "tools", "thinking"),
    "deepseek-r1": ("completion", "thinking"),
    "qwen2.5-coder": ("completion", "tools", "insert"),
    "nomic-embed-text": ("embedding",),
    "all-minilm": ("embedding",),
}
OLLAMA_LIST = (
    "llama3.2:latest",
    "qwen3:8b",
    "gpt-oss:20b",
    "gemma3:4b",
    "qwen2.5-coder:latest",
    "nomic-embed-text:latest",
)
OLLAMA_WIDTH = {"nomic-embed-text": 768, "all-minilm": 384}


def ollama_capabilities(name: str) -> tuple[str, ...] | None:
    """The capabilities of a pulled Ollama model, whatever its tag; None: it was never pulled."""
    return _OLLAMA.get(name.partition(":")[0])
