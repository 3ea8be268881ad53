"""Which of our presets another gateway's name for a service stands for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from providers.presets import CUSTOM, PRESETS
from routing.imports.draft import Address

# LiteLLM's prefixes, as its documentation of providers lists them.
LITELLM = {
    "openai": "openai",
    "text-completion-openai": "openai",
    "anthropic": "anthropic",
    "azure": "azure",
    "azure_text": "azure",
    "gemini": "gemini",
    "groq": "groq",
    "together_ai": "together",
    "mistral": "mistral",
    "deepseek": "deepseek",
    "openrouter": "openrouter",
    "xai": "xai",
    "fireworks_ai": "fireworks",
    "cerebras": "cerebras",
    "perplexity": "perplexity",
    "huggingface": "huggingface",
    "nvidia_nim": "nvidia",
    "deepinfra": "deepinfra",
    "moonshot": "moonshot",
    "dashscope": "qwen",
    "sambanova": "sambanova",
    "ollama": "ollama",
    "ollama_chat": "ollama",
    "hosted_vllm": "vllm",
    "lm_studio": "lmstudio",
    "llamafile": CUSTOM,
    "openai_like": CUSTOM,
    "custom_openai": CUSTOM,
    "litellm_proxy": CUSTOM,
    "xinference": CUSTOM,
}
# The variable in which LiteLLM looks for a key, where it is not the one that our preset names.
LITELLM_VARIABLES = {
    "azure": "AZURE_API_KEY",
    "together": "TOGETHERAI_API_KEY",
    "fireworks": "FIREWORKS_API_KEY",
    "perplexity": "PERPLEXITYAI_API_KEY",
    "huggingface": "HUGGINGFACE_API_KEY",
    "nvidia": "NVIDIA_NIM_API_KEY",
}
_OPENAI_MODELS = re.compile(
    r"gpt-|chatgpt-|o[134]\b|text-embedding-|ft:|dall-e|whisper-|tts-|davinci|babbage"
)


def litellm_prefix(model: str, told: str) -> tuple[str, str]:
    """Prefix and the rest of a LiteLLM model. `told`: its custom_llm_provider. "": nobody says which."""
    prefix, slash, rest = model.partition("/")
    if told:
        return told, rest if slash and prefix == told else model
    if slash:
        return prefix, rest
    if model.startswith("claude-"):
        return "anthropic", model
    return ("openai" if _OPENAI_MODELS.match(model) else ""), model


def litellm_address(preset: str, base: str) -> Address | None:
    """Where LiteLLM sends calls of this preset with this api_base. None: the base is missing."""
    base = base.rstrip("/")
    if not base:
        return Address(preset) if PRESETS[preset].complete else None
    if preset == "anthropic":
        base = base.removesuffix("/v1/messages").removesuffix("/v1")
    elif preset == "azure":
        base = _azure(base)
    elif preset == "gemini" and not base.endswith("/openai"):
        base = f"{base.removesuffix('/v1beta')}/v1beta/openai"
    elif preset == "openai" and base != "https://api.openai.com/v1":
        preset = CUSTOM
    return _address(preset, base)


def _address(preset: str, base: str) -> Address:
    known = PRESETS[preset].base_url
    return Address(preset, "" if base == known or (preset == "openai" and not known) else base)


def _azure(base: str) -> str:
    """A resource's v1 API, from any address of it."""
    return base.partition("/openai")[0] + "/openai/v1"


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel type of one-api or new-api. `url`: its default; `suffix`: what comes between it and the paths
    of OpenAI's dialect. `preset` "": this gateway does not speak to it."""

    name: str
    preset: str = CUSTOM
    url: str = ""
    suffix: str = "/v1"


_COMMON = {
    1: Channel("OpenAI", "openai", "https://api.openai.com"),
    3: Channel("Azure", "azure", suffix="/openai/v1"),
    6: Channel("OpenAI Max", url="https://api.openaimax.com"),
    7: Channel("OhMyGPT", url="https://api.ohmygpt.com"),
    8: Channel("Custom"),
    10: Channel("AI Proxy", url="https://api.aiproxy.io"),
    12: Channel("API2GPT", url="https://api.api2gpt.com"),
    13: Channel("AIGC2D", url="https://api.aigc2d.com"),
    14: Channel("Anthropic", "anthropic", "https://api.anthropic.com", ""),
    17: Channel("Alibaba", url="https://dashscope.aliyuncs.com", suffix="/compatible-mode/v1"),
    20: Channel("OpenRouter", "openrouter", "https://openrouter.ai/api"),
    24: Channel("Gemini", "gemini", "https://generativelanguage.googleapis.com", "/v1beta/openai"),
    25: Channel("Moonshot", url="https://api.moonshot.cn"),
    31: Channel("01.AI", url="https://api.lingyiwanwu.com"),
}
_ZHIPU = Channel("Zhipu", url="https://open.bigmodel.cn", suffix="/api/paas/v4")
_DEEPSEEK = Channel("DeepSeek", "deepseek", "https://api.deepseek.com")
_SILICONFLOW = Channel("SiliconFlow", url="https://api.siliconflow.cn")
_DOUBAO = Channel("Doubao", url="https://ark.cn-beijing.volces.com", suffix="/api/v3")
_BAIDU = Channel("Baidu v2", url="https://qianfan.baidubce.com", suffix="/v2")
_MISTRAL = Channel("Mistral", "mistral", "https://api.mistral.ai")
_OLLAMA = Channel("Ollama", "ollama", "http://localhost:11434", "")
_XAI = Channel("xAI", "xai", "https://api.x.ai")

# The numbers mean different services in the two from 4 on.
ONE_API = {
    **_COMMON,
    2: Channel("API2D", url="https://oa.api2d.net"),
    4: Channel("CloseAI", url="https://api.closeai-proxy.xyz"),
    5: Channel("OpenAI-SB", url="https://api.openai-sb.com"),
    9: Channel("AILS", url="https://api.caipacity.com"),
    16: _ZHIPU,
    26: Channel("Baichuan", url="https://api.baichuan-ai.com"),
    27: Channel("MiniMax", url="https://api.minimax.chat"),
    28: _MISTRAL,
    29: Channel("Groq", "groq", "https://api.groq.com/openai"),
    30: _OLLAMA,
    32: Channel("StepFun", url="https://api.stepfun.com"),
    36: _DEEPSEEK,
    39: Channel("Together", "together", "https://api.together.xyz"),
    40: _DOUBAO,
    41: Channel("Novita", url="https://api.novita.ai/v3/openai", suffix=""),
    44: _SILICONFLOW,
    45: _XAI,
    47: _BAIDU,
    49: Channel("Alibaba Bailian", url="https://dashscope.aliyuncs.com", suffix="/compatible-mode/v1"),
    50: Channel("OpenAI-compatible", suffix=""),
}
NEW_API = {
    **_COMMON,
    4: _OLLAMA,
    16: _ZHIPU,
    26: _ZHIPU,
    27: Channel("Perplexity", "perplexity", "https://api.perplexity.ai", ""),
    35: Channel("MiniMax", url="https://api.minimax.chat"),
    40: _SILICONFLOW,
    42: _MISTRAL,
    43: _DEEPSEEK,
    45: _DOUBAO,
    46: _BAIDU,
    47: Channel("Xinference"),
    48: _XAI,
    53: Channel("Submodel", url="https://llm.submodel.ai"),
}


def channel_address(channel: Channel, base: str) -> Address | None:
    """Where a channel's calls go. None: it has no address."""
    base = base.rstrip("/").removesuffix("/chat/completions").rstrip("/")
    if base in ("", channel.url) and channel.preset != CUSTOM:
        return Address(channel.preset) if PRESETS[channel.preset].complete else None
    base = base or channel.url
    if not base:
        return None
    if channel.preset == "azure":
        return Address("azure", _azure(base))
    whole = base if channel.suffix and base.endswith(channel.suffix) else base + channel.suffix
    return Address(CUSTOM if channel.preset == "openai" else channel.preset, whole)
