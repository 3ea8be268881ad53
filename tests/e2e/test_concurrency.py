"""Many calls at once over the same connections: each gets its own answer, whole."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.e2e import message_ways
from tests.e2e.chat_ways import gathered
from tests.e2e.prompts import user
from tests.e2e.sdks import KINDS, MODELS, Stage

ROUNDS = 12


def test_nobody_hears_anothers_answer(stage: Stage) -> None:
    """Both dialects to all providers, streams and whole answers side by side."""
    told: list[tuple[str, str]] = []

    async def chat(model: str, secret: str) -> None:
        create: Any = stage.sdks.async_openai.chat.completions.create
        answer = await create(model=model, messages=user("say:" + secret))
        told.append((secret, answer.choices[0].message.content))
        async with await create(model=model, messages=user("say:" + secret), stream=True) as chunks:
            streamed = gathered([chunk async for chunk in chunks])
        told.append((secret, streamed.choices[0].message.content or ""))

    async def message(model: str, secret: str) -> None:
        messages: Any = stage.sdks.async_anthropic.messages
        answer = await messages.create(model=model, max_tokens=900, messages=user("say:" + secret))
        told.append((secret, message_ways.text_of(answer)))
        async with messages.stream(model=model, max_tokens=900, messages=user("say:" + secret)) as events:
            told.append((secret, await events.get_final_text()))

    async def ask() -> None:
        calls = [
            call(MODELS[kind], f"secret {call.__name__} {kind} {number} " * (number + 1))
            for number in range(ROUNDS)
            for kind in KINDS
            for call in (chat, message)
        ]
        await asyncio.gather(*calls)

    stage.sdks.run(ask())
    assert len(told) == ROUNDS * len(KINDS) * 4
    assert [(secret, said) for secret, said in told if secret != said] == []
    records = stage.gateway.records
    stage.gateway.wait(lambda: len(records) == len(told))
    assert {record.outcome for record in records} == {"ok"}
    assert len({record.request_id for record in records}) == len(told)
