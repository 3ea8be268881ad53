"""Whatever a file says: it is refused in words, or what it comes to is accepted by `config apply`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from accounts.apps import hasher
from providers.apps import vault
from routing.configfile import ConfigError, load_yaml, parse
from routing.configfile_apply import Means, bring
from routing.configfile_export import to_yaml
from routing.imports.formats import import_file

ODD = [
    "",
    " ",
    "a b",
    "*",
    "a*b",
    "x" * 300,
    "\x00",
    "\ud800",
    "é",
    "env:X",
    "-1",
    0,
    -1,
    1.5,
    10**30,
    True,
    None,
    [],
    {},
]
OURS = ("providers", "routes", "keys", "limits", "models[", "teams")
NAMES = ["gpt-4o", "fast", "slow", "gpt-*", "*", "fast", "slow"]
# A pattern comes to a route for each model of the price list, which takes seconds, and has tests of its own.
MODELS = [
    "openai/gpt-4o",
    "azure/dep",
    "groq/llama",
    "hosted_vllm/q",
    "bedrock/x",
    "gpt-4o",
]
KEYS = ["os.environ/KEY_A", "os.environ/KEY_B", "sk-literal-0123456789", "none", "env:HOME"]
BASES = [
    "https://llm.example.com/v1",
    "http://10.0.0.7:8000",
    "http://169.254.169.254",
    "https://RESOURCE.openai.azure.com",
]


def often(values: list[Any]) -> st.SearchStrategy[Any]:
    """Mostly one of these, now and then an odd one."""
    return st.integers(0, 11).flatmap(lambda draw: st.sampled_from(ODD if draw == 11 else values))


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


PARAMS = some(
    api_key=often(KEYS),
    api_base=often(BASES),
    rpm=often([10, "20"]),
    tpm=often([1000]),
    weight=often([1, 0.3, 5]),
    order=often([1, 2]),
    timeout=often([5, 9000]),
    stream_timeout=often([3]),
    max_parallel_requests=often([4]),
    temperature=often([0.5]),
    extra_body=often([{"seed": 1}, {"model": "x"}]),
    additional_drop_params=often([["seed"]]),
)
ENTRY = st.builds(
    lambda name, model, params, info: {
        "model_name": name,
        "litellm_params": {"model": model, **params},
        "model_info": info,
    },
    often(NAMES),
    often(MODELS),
    PARAMS,
    some(
        input_cost_per_token=often([1e-6, 3.3e-7]),
        max_input_tokens=often([1000]),
        max_output_tokens=often([10]),
    ),
)
ALIASES = [{"alias": "fast"}, {"a b": "fast"}, {"alias": {"model": "slow", "hidden": True}}]
FALLBACKS = often([[{"fast": ["slow"]}], [{"*": ["fast"]}], [{"slow": ["gpt-4o", "fast", "other"]}]])
LITELLM = st.fixed_dictionaries(
    {"model_list": st.lists(ENTRY, min_size=1, max_size=5)},
    optional={
        "router_settings": some(
            routing_strategy=often(["least-busy", "usage-based-routing"]),
            fallbacks=FALLBACKS,
            context_window_fallbacks=FALLBACKS,
            content_policy_fallbacks=FALLBACKS,
            num_retries=often([0, 2, 9]),
            timeout=often([30]),
            allowed_fails=often([0, 3]),
            cooldown_time=often([30]),
            model_group_alias=often(ALIASES),
        ),
        "litellm_settings": some(
            cache=often([True]), cache_params=often([{"ttl": 5}]), default_fallbacks=often([["fast"]])
        ),
        "general_settings": some(
            master_key=often(["sk-1", "sk-long-enough-0123456789", "os.environ/MASTER"])
        ),
    },
)
CHANNEL = some(
    type=often(list(range(1, 54))),
    key=often(["sk-0123456789", "a\nb\nb"]),
    base_url=often(["", *BASES]),
    models=often(["gpt-4o", "gpt-4o,fast,fast", "a/b, slow"]),
    group=often(["default", "default,vip", "vip", "x" * 150, "two words"]),
    priority=often([0, 5, -3]),
    weight=often([0, 7]),
    status=often([1, 2]),
    name=often(["one"]),
    model_mapping=often(["", '{"gpt-4o": "fast"}', '{"gpt-4o": "a b"}']),
    param_override=often(['{"seed": 1}', '{"model": 1}', "nonsense"]),
)


def accepted(name: str, raw: bytes) -> None:
    try:
        draft = import_file(name, raw)
    except ConfigError as error:
        # Its own words, of the other file; not those of a document that it made wrongly.
        assert not [problem for problem in error.problems if problem.startswith(OURS)]  # noqa: PT017 - both ends are right
        return
    environ = dict.fromkeys(draft.variables, "made-up-0123456789")
    means = Means(vault=vault(), hasher=hasher(), environ=environ)
    with transaction.atomic():
        bring(parse(load_yaml(to_yaml(draft.document()))), means)
        transaction.set_rollback(True)


# What a failure comes from is seen in the document: to explain it, every line of Django would be traced.
SIZE = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)


@pytest.mark.django_db
@SIZE
@given(config=LITELLM)
def test_litellm(config: dict[str, Any]) -> None:
    accepted("litellm", json.dumps(config).encode())


@pytest.mark.django_db
@SIZE
@given(channels=st.lists(CHANNEL, max_size=5), name=st.sampled_from(["one-api", "new-api"]))
def test_channels(channels: list[dict[str, Any]], name: str) -> None:
    accepted(name, json.dumps(channels).encode())
