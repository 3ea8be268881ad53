"""Whether a model can serve a request at all, by what the catalogue or its name says: content and context."""

from __future__ import annotations

from dialects import estimate
from dialects.capabilities import capabilities_of, resolve
from dialects.types import Facts
from routing.snapshot import Snapshot, Target

# Of what a request may need, what a model has or has not, whoever serves it. For the rest there is a
# translation, or a dialect that is chosen for it.
CONTENT = frozenset({"tools", "vision", "documents", "audio"})


def asks_much(facts: Facts) -> bool:
    """False of a request that every model can serve, as far as anybody can tell before asking: then nothing
    is looked up."""
    return facts.one_prompt or not facts.needs.isdisjoint(CONTENT)


def unfit(snapshot: Snapshot, facts: Facts, target: Target) -> str | None:
    """Why the target's model cannot serve the request; None: as far as is known it can.

    The prompt is estimated, and what no row or name tells counts as "it can": a reason to prefer another
    target, and none to refuse the request.
    """
    model = target.upstream_model or facts.model
    row = snapshot.catalogue.get((target.provider.kind.name, model))
    needed = facts.needs & CONTENT
    if needed:
        lacking = needed - (capabilities_of(model) if row is None else resolve(row.facts))
        if lacking:
            return f"its model lacks {' and '.join(sorted(lacking))}"
    if row is None or row.facts.context_window is None or not facts.one_prompt:
        return None
    window, most = row.facts.context_window, row.facts.max_output_tokens
    wanted = facts.max_tokens or 0
    tokens = estimate.tokens(facts.prompt_chars) + (wanted if most is None else min(wanted, most))
    return None if tokens <= window else f"its context of {window} tokens is too small for about {tokens}"
