"""What the first start prints, once: where it listens, who may enter, and lines to copy."""

from __future__ import annotations

from gateway_project.beginnings import ADMIN, Outcome
from gateway_project.config import Config

_KEY = "$LLM_GATEWAY_KEY"


def first_sheet(config: Config, outcome: Outcome) -> str:
    """The whole sheet, for a person at a terminal."""
    url = address(config)
    key = outcome.key or _KEY
    model = outcome.model or "MODEL"
    lines = ["", f"The gateway is on {url}", ""]
    password = outcome.password or "as LLM_GATEWAY_ADMIN_PASSWORD says"
    if config.oidc is not None and config.oidc.only:
        password += " (opens nothing while LLM_GATEWAY_OIDC_ONLY is set)"
    lines += [f"  Admin        {url}/admin/", f"  User         {ADMIN}", f"  Password     {password}"]
    if outcome.key is not None:
        lines += [
            f"  First key    {outcome.key}",
            "",
            "Keep the key and the password: they are shown only now.",
        ]
    else:
        lines += ["  First key    as LLM_GATEWAY_BOOTSTRAP_KEY or config.yaml says"]
    if model == "sandbox":
        lines += [
            "",
            "No provider is set up, so the built-in sandbox answers. For real models set OPENAI_API_KEY or",
            "ANTHROPIC_API_KEY and start again, run Ollama beside it, or add a provider in the admin.",
        ]
    elif outcome.model is None:
        lines += [
            "",
            "No provider is set up yet: add one in the admin, or by the environment (.env.example).",
        ]
    return "\n".join([*lines, "", *_snippets(url, key, model), ""])


def later_line(config: Config) -> str:
    """What every other start prints."""
    return f"The gateway is on {address(config)}"


def address(config: Config) -> str:
    """Where a client on this machine reaches it, or the public URL where one is configured."""
    if config.public_url:
        return config.public_url
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(config.host, config.host)  # noqa: S104 - what is shown instead of it
    return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{config.port}"


def _snippets(url: str, key: str, model: str) -> list[str]:
    return [
        "curl",
        "",
        f"  curl {url}/v1/chat/completions \\",
        f'    -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\',
        f'    -d \'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}\'',
        "",
        "openai SDK",
        "",
        "  from openai import OpenAI",
        f'  client = OpenAI(base_url="{url}/v1", api_key="{key}")',
        '  hello = [{"role": "user", "content": "Hello"}]',
        f'  reply = client.chat.completions.create(model="{model}", messages=hello)',
        "  print(reply.choices[0].message.content)",
        "",
        "anthropic SDK",
        "",
        "  from anthropic import Anthropic",
        f'  client = Anthropic(base_url="{url}", api_key="{key}")',
        '  hello = [{"role": "user", "content": "Hello"}]',
        f'  print(client.messages.create(model="{model}", max_tokens=200, messages=hello).content[0].text)',
    ]
