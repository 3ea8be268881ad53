"""Presets: what is known of popular services, so that adding one asks for little more than its key.

A preset only fills in a provider's fields; from then on the provider is a row like any other. Base URLs are
those that the services' own documentation or two well-kept clients name (pydantic-ai and Vercel's AI SDK,
August 2026). A service that closed or that we could not verify is not here: GitHub Models ended in July 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# In a base URL: the part that only the operator knows.
PLACEHOLDER = "RESOURCE"


@dataclass(frozen=True, slots=True)
class Preset:
    """One service. `name` is the preset's, and of the provider unless the operator gives another.

    `base_url`: "" where the kind has one; it may hold PLACEHOLDER. `key_page`: where a key is made, "" where
    none is needed. `key_env`: the variable in which its own tools look for the key. `private`: it runs on the
    operator's own network. `note`: what somebody should know before the first call.
    """

    name: str
    label: str
    kind: str = "openai_compatible"
    base_url: str = ""
    key_page: str = ""
    key_env: str = ""
    private: bool = False
    note: str = ""

    @property
    def complete(self) -> bool:
        """False where the operator must say the address."""
        return PLACEHOLDER not in self.base_url and self.name != CUSTOM


# Any service of which there is no preset.
CUSTOM = "custom"

PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "openai",
            "OpenAI",
            kind="openai",
            key_page="https://platform.openai.com/api-keys",
            key_env="OPENAI_API_KEY",
        ),
        Preset(
            "anthropic",
            "Anthropic",
            kind="anthropic",
            key_page="https://console.anthropic.com/settings/keys",
            key_env="ANTHROPIC_API_KEY",
        ),
        Preset(
            "azure",
            "Azure OpenAI",
            kind="azure_openai",
            base_url=f"https://{PLACEHOLDER}.openai.azure.com/openai/v1",
            key_page="https://portal.azure.com",
            key_env="AZURE_OPENAI_API_KEY",
            note=f"Put your resource's name for {PLACEHOLDER}. A model is called as its deployment; where "
            "that differs from what clients ask for, say it in the route's target.",
        ),
        Preset(
            "gemini",
            "Google Gemini",
            base_url="https://generativelanguage.googleapis.com/v1beta/openai",
            key_page="https://aistudio.google.com/apikey",
            key_env="GEMINI_API_KEY",
        ),
        Preset(
            "groq",
            "Groq",
            base_url="https://api.groq.com/openai/v1",
            key_page="https://console.groq.com/keys",
            key_env="GROQ_API_KEY",
        ),
        Preset(
            "together",
            "Together",
            base_url="https://api.together.xyz/v1",
            key_page="https://www.together.ai",
            key_env="TOGETHER_API_KEY",
        ),
        Preset(
            "mistral",
            "Mistral",
            kind="mistral",
            key_page="https://console.mistral.ai/api-keys",
            key_env="MISTRAL_API_KEY",
            note="Refuses every field that it does not know with a 422; it takes max_tokens, and not "
            "max_completion_tokens.",
        ),
        Preset(
            "deepseek",
            "DeepSeek",
            base_url="https://api.deepseek.com",
            key_page="https://platform.deepseek.com/api_keys",
            key_env="DEEPSEEK_API_KEY",
        ),
        Preset(
            "openrouter",
            "OpenRouter",
            base_url="https://openrouter.ai/api/v1",
            key_page="https://openrouter.ai/keys",
            key_env="OPENROUTER_API_KEY",
        ),
        Preset(
            "xai",
            "xAI",
            base_url="https://api.x.ai/v1",
            key_page="https://console.x.ai",
            key_env="XAI_API_KEY",
        ),
        Preset(
            "fireworks",
            "Fireworks",
            base_url="https://api.fireworks.ai/inference/v1",
            key_page="https://fireworks.ai",
            key_env="FIREWORKS_API_KEY",
            note="Its models are called accounts/fireworks/models/NAME.",
        ),
        Preset(
            "cerebras",
            "Cerebras",
            base_url="https://api.cerebras.ai/v1",
            key_page="https://cloud.cerebras.ai",
            key_env="CEREBRAS_API_KEY",
        ),
        Preset(
            "perplexity",
            "Perplexity",
            base_url="https://api.perplexity.ai",
            key_page="https://docs.perplexity.ai/guides/getting-started",
            key_env="PERPLEXITY_API_KEY",
            note="It has no list of models, so the test button may report status 404 although calls work.",
        ),
        Preset(
            "huggingface",
            "Hugging Face",
            base_url="https://router.huggingface.co/v1",
            key_page="https://huggingface.co/settings/tokens",
            key_env="HF_TOKEN",
        ),
        Preset(
            "nvidia",
            "NVIDIA NIM",
            base_url="https://integrate.api.nvidia.com/v1",
            key_page="https://build.nvidia.com",
            key_env="NVIDIA_API_KEY",
        ),
        Preset(
            "deepinfra",
            "DeepInfra",
            base_url="https://api.deepinfra.com/v1/openai",
            key_page="https://deepinfra.com",
            key_env="DEEPINFRA_API_KEY",
        ),
        Preset(
            "moonshot",
            "Moonshot",
            base_url="https://api.moonshot.ai/v1",
            key_page="https://platform.moonshot.ai/console",
            key_env="MOONSHOT_API_KEY",
        ),
        Preset(
            "qwen",
            "Alibaba Qwen (international)",
            base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
            key_page="https://modelstudio.console.alibabacloud.com",
            key_env="DASHSCOPE_API_KEY",
        ),
        Preset(
            "sambanova",
            "SambaNova",
            base_url="https://api.sambanova.ai/v1",
            key_page="https://cloud.sambanova.ai",
            key_env="SAMBANOVA_API_KEY",
        ),
        Preset(
            "ollama",
            "Ollama",
            kind="ollama",
            base_url="http://localhost:11434",
            private=True,
        ),
        Preset(
            "vllm",
            "vLLM",
            base_url="http://localhost:8000/v1",
            private=True,
            note="A key is needed only where it was started with --api-key.",
        ),
        Preset(
            "llamacpp",
            "llama.cpp",
            base_url="http://localhost:8080/v1",
            private=True,
            note="llama-server and this gateway both listen on port 8080 unless told otherwise.",
        ),
        Preset(
            "lmstudio",
            "LM Studio",
            base_url="http://localhost:1234/v1",
            private=True,
        ),
        Preset(
            CUSTOM,
            "Any other OpenAI-compatible service",
            note="Its base URL is the one that its documentation gives to the OpenAI SDK.",
        ),
    )
}
