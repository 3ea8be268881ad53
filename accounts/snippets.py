"""Lines to copy for somebody who has just got a key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Snippet:
    """`text` works as it stands."""

    title: str
    text: str


def snippets(key: str, base_url: str, model: str) -> Iterator[Snippet]:
    """How to call the gateway at `base_url` (without `/v1`). `model` is harmless in a shell and in quotes."""
    yield Snippet("Key", key)
    yield Snippet(
        "curl",
        f"curl {base_url}/v1/chat/completions \\\n"
        f'  -H "Authorization: Bearer {key}" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"""  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'""",
    )
    yield Snippet(
        "Python, openai",
        "from openai import OpenAI\n\n"
        f'client = OpenAI(base_url="{base_url}/v1", api_key="{key}")\n'
        'messages = [{"role": "user", "content": "Hello"}]\n'
        f'answer = client.chat.completions.create(model="{model}", messages=messages)\n'
        "print(answer.choices[0].message.content)",
    )
    yield Snippet(
        "Python, anthropic",
        "from anthropic import Anthropic\n\n"
        f'client = Anthropic(base_url="{base_url}", api_key="{key}")\n'
        'messages = [{"role": "user", "content": "Hello"}]\n'
        f'answer = client.messages.create(model="{model}", max_tokens=256, messages=messages)\n'
        "print(answer.content[0].text)",
    )
    yield Snippet(
        "Claude Code",
        f"export ANTHROPIC_BASE_URL={base_url}\nexport ANTHROPIC_AUTH_TOKEN={key}\nclaude",
    )
