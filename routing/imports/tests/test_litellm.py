"""LiteLLM's configuration: what it becomes, that it is accepted, and that a call finds its way by it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from accounts.apps import hasher
from providers.apps import vault
from routing.configfile import ConfigError, load_yaml, parse
from routing.configfile_apply import Means, apply
from routing.configfile_export import to_yaml
from routing.imports.draft import Draft
from routing.imports.formats import import_file
from routing.loader import build_snapshot
from routing.plan import match
from routing.snapshot import Route, Snapshot
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway

SAMPLE = (Path(__file__).parent / "samples" / "litellm.yaml").read_bytes()
SECRETS = ("az-literal-0123456789abcdef", "redis-password-0123", "database-password", "langfuse-secret-0123")
ENVIRON = {
    name: f"made-up-{name.lower()}-0123456789"
    for name in (
        "AZURE_EU_KEY",
        "AZURE_2_API_KEY",
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "GROQ_API_KEY",
        "OPENROUTER_API_KEY",
        "LITELLM_MASTER_KEY",
    )
}


def imported(config: str, **options: bool) -> Draft:
    return import_file("litellm", config.encode(), **options)


def applied(draft: Draft, environ: dict[str, str] | None = None) -> Snapshot:
    """The draft as a file, applied to an empty database."""
    means = Means(vault=vault(), hasher=hasher(), environ=ENVIRON if environ is None else environ)
    apply(parse(load_yaml(to_yaml(draft.document()))), means, author="a", reason="b")
    snapshot = build_snapshot(vault())
    assert snapshot.left_out == 0
    return snapshot


@pytest.mark.parametrize("place", ["api_key: {}", "extra_body: {{seed: {}}}", "rpm: {}"])
@pytest.mark.parametrize("number", ["0x" + "f" * 5000, "1" + ":59" * 5000], ids=["hex", "base 60"])
def test_a_number_without_end_is_refused_in_words(place: str, number: str) -> None:
    params = place.format(number)
    with pytest.raises(ConfigError, match="a number is longer than"):
        imported(f"model_list: [{{model_name: m, litellm_params: {{model: openai/m, {params}}}}}]")


def route_of(snapshot: Snapshot, model: str) -> Route:
    found = match(snapshot, model, None)
    assert found is not None
    return found


def places(route: Route) -> list[tuple[Any, ...]]:
    return [(t.provider.name, t.upstream_model, t.tier, t.weight, *sorted(t.after)) for t in route.targets]


def models(*entries: str, more: str = "") -> str:
    return "model_list:\n" + "".join(f"  - {entry}\n" for entry in entries) + more


@pytest.mark.django_db
def test_a_whole_configuration_is_accepted_and_routes_as_it_did() -> None:
    snapshot = applied(import_file("litellm", SAMPLE))
    assert places(route_of(snapshot, "gpt-4o")) == [
        ("azure", "gpt-4o-eu", 0, 2),
        ("azure-2", "gpt-4o-us", 0, 1),
        ("openai", "gpt-4o", 1, 1),
        ("anthropic", "claude-sonnet-4-6", 2, 1),
    ]
    assert places(route_of(snapshot, "gpt-4")) == places(route_of(snapshot, "gpt-4o"))
    assert places(route_of(snapshot, "house")) == [
        ("vllm", "qwen3-32b", 0, 3),
        ("groq", "qwen/qwen3-32b", 0, 1),
        ("anthropic", "claude-haiku-4-5", 1, 1),
    ]
    assert set(places(route_of(snapshot, "sonnet"))) == {
        ("anthropic", "claude-sonnet-4-6", 0, 1),
        ("anthropic", "claude-sonnet-4-6", 0, 1, "context_length"),
        ("vllm", "qwen3-32b", 0, 3, "content_policy"),
        ("groq", "qwen/qwen3-32b", 0, 1, "content_policy"),
    }
    assert places(route_of(snapshot, "claude-opus-4-5")) == [("anthropic", "", 0, 1)]
    assert places(route_of(snapshot, "openai/gpt-4o-mini")) == [("openai", "gpt-4o-mini", 0, 1)]
    assert places(route_of(snapshot, "anything/else")) == [("openrouter", "", 0, 1)]


@pytest.mark.django_db
def test_addresses_keys_prices_limits_and_patience_come_along() -> None:
    snapshot = applied(import_file("litellm", SAMPLE))
    azure, vllm = snapshot.providers["azure-2"], snapshot.providers["vllm"]
    assert azure.base_url == "https://crew-us.openai.azure.com/openai/v1"
    assert [c.secret for c in azure.credentials] == [ENVIRON["AZURE_2_API_KEY"]]
    assert (vllm.base_url, vllm.allow_private, vllm.credentials) == ("http://vllm.internal:8000/v1", True, ())
    assert not azure.allow_private
    assert (azure.breaker.consecutive, azure.breaker.open_seconds) == (4, 30)
    limits = [(each.kind, each.amount, each.model) for each in snapshot.providers["azure"].limits]
    assert sorted(limits) == [("requests", 600, "gpt-4o"), ("tokens", 120000, "gpt-4o")]
    sonnet, gpt = route_of(snapshot, "sonnet"), route_of(snapshot, "gpt-4o")
    assert (sonnet.patience.first_byte, sonnet.patience.first_byte_stream) == (300, 30)
    assert gpt.patience.first_byte == 120
    assert sonnet.caching is not None
    assert sonnet.caching.ttl == 600
    assert gpt.targets[2].max_in_flight == 40
    assert route_of(snapshot, "house").targets[0].body_patch == {
        "chat_template_kwargs": {"enable_thinking": False}
    }
    price = snapshot.catalogue["openai_compatible", "qwen3-32b"]
    assert (price.price.input, price.price.output, price.facts.context_window) == (0.2, 0.6, 32768)
    key = snapshot.keys[hasher().digest(ENVIRON["LITELLM_MASTER_KEY"])]
    assert key.team.name == "litellm"


def test_the_report_names_all_that_did_not_come_along_and_no_secret() -> None:
    draft = import_file("litellm", SAMPLE)
    text = "\n".join(draft.report.lines())
    for words in (
        "model_list[10] (titan): bedrock",
        "model_list[11] (groq/*)",
        "litellm_params.extra_headers",
        "router_settings.redis_host",
        "router_settings.model_group_alias (lost)",
        "fallback of sonnet to titan",
        "litellm_settings.success_callback",
        "general_settings.database_url",
        "environment_variables",
        "model_info.region",
        "set AZURE_2_API_KEY to the secret of model_list[1]",
        "temperature",
        "titan: its entries are left out, so the route * takes its calls",
    ):
        assert words in text
    for secret in SECRETS:
        assert secret not in text + to_yaml(draft.document())


def test_a_literal_key_is_taken_only_when_told_to() -> None:
    config = models("{model_name: a, litellm_params: {model: openai/gpt-4o, api_key: sk-literal-0123456789}}")
    assert (
        imported(config).document()["providers"]["openai"]["credentials"][0]["secret"] == "env:OPENAI_API_KEY"
    )
    draft = imported(config, take_secrets=True)
    assert draft.document()["providers"]["openai"]["credentials"][0]["secret"] == "sk-literal-0123456789"
    assert "sk-literal" not in "\n".join(draft.report.lines())


def test_a_made_up_variable_is_none_that_the_file_speaks_of() -> None:
    draft = imported(
        models(
            "{model_name: a, litellm_params: {model: openai/gpt-4o, api_key: sk-literal-0123456789}}",
            "{model_name: a, litellm_params: {model: openai/gpt-4o, api_key: os.environ/OPENAI_API_KEY}}",
        )
    )
    secrets = [each["credentials"][0]["secret"] for each in draft.document()["providers"].values()]
    assert secrets == ["env:OPENAI_API_KEY_2", "env:OPENAI_API_KEY"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("[1, 2]", "the document: expected a mapping"),
        ("model_list: {a: b}", "model_list: expected a list"),
        ("model_list: [text]", "model_list[0]: expected a mapping"),
        (
            models("{model_name: a, litellm_params: {model: gpt-4o, rpm: lots}}"),
            "litellm_params.rpm: expected",
        ),
        (models("{model_name: a, litellm_params: {model: [gpt]}}"), "litellm_params.model: expected a text"),
        (models("{model_name: a, litellm_params: {model: gpt-4o, weight: .nan}}"), "weight: expected"),
        ("router_settings: {fallbacks: [{a: b}]}", "fallbacks[0].a: expected a list"),
        ("a: !!python/object/apply:os.system [id]", "not valid YAML"),
        ("a: " + "[" * 3000, "nests deeper"),
        ("a: &a [*a]", "an alias stands within"),
        (
            "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)),
            "unfolds",
        ),
        (
            "a0: &a0 {x: 1}\n"
            + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40)),
            "unfolds",
        ),
        ("#" * (9 * 1024 * 1024), "larger than 8 MiB"),
    ],
)
def test_hostile_or_mistaken_files_are_refused_in_clear_words(config: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        imported(config)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ("{model: openai/x, api_base: 'http://169.254.169.254/v1'}", "its address cannot be used"),
        ("{model: openai/x, api_base: 'https://user:pa55word@host/v1'}", "its address cannot be used"),
        ("{model: openai/x, api_base: 'https://RESOURCE.example.com/v1'}", "its address is an example's"),
        ("{model: openai/x, api_base: os.environ/BASE}", "an address is no secret"),
        ("{model: azure/x, api_key: abc}", "it has no api_base"),
        ("{model: 'openai/a b'}", "is no model's name"),
        ("{model: some-model}", "cannot be told"),
        ("{model: 'openai/*'}", "its model is a wildcard"),
    ],
)
def test_what_cannot_be_carried_is_named(params: str, words: str) -> None:
    draft = imported(models(f"{{model_name: name, litellm_params: {params}}}"))
    assert draft.routes == []
    assert any(words in line for line in draft.report.left_out)
    assert "pa55word" not in str(draft.report.lines())


def test_a_name_of_a_file_cannot_write_to_the_terminal() -> None:
    config = yaml.safe_dump({"general_settings": {"\x1b[2Jx": 1}})
    assert "\x1b" not in "".join(imported(config).report.lines())


@pytest.mark.django_db
def test_default_fallbacks_serve_groups_without_their_own() -> None:
    draft = imported(
        models(
            "{model_name: a, litellm_params: {model: openai/m-a, api_key: os.environ/OPENAI_API_KEY}}",
            "{model_name: b, litellm_params: {model: openai/m-b, api_key: os.environ/OPENAI_API_KEY}}",
            "{model_name: c, litellm_params: {model: openai/m-c, api_key: os.environ/OPENAI_API_KEY}}",
            more="litellm_settings: {default_fallbacks: [c], fallbacks: [{a: [b]}], num_retries: 3}\n",
        )
    )
    snapshot = applied(draft)
    assert [t[:3] for t in places(route_of(snapshot, "a"))] == [("openai", "m-a", 0), ("openai", "m-b", 1)]
    assert [t[:3] for t in places(route_of(snapshot, "b"))] == [("openai", "m-b", 0), ("openai", "m-c", 1)]
    assert [t[:3] for t in places(route_of(snapshot, "c"))] == [("openai", "m-c", 0)]
    assert (route_of(snapshot, "a").tries, route_of(snapshot, "c").tries) == (2, 1)


@pytest.mark.django_db
def test_a_call_goes_through_an_imported_route(gateway: LiveGateway, fake_upstream: FakeUpstream) -> None:
    params = "model: openai/gpt-4o-mini, api_key: os.environ/OPENAI_API_KEY, extra_body: {seed: 7}"
    base = fake_upstream.openai_url
    draft = imported(models(f"{{model_name: fast, litellm_params: {{{params}, api_base: '{base}'}}}}"))
    gateway.use(replace(applied(draft), keys=gateway.holder.current.keys))
    reply = httpx2.post(
        f"{gateway.url}/v1/chat/completions",
        headers={"authorization": f"Bearer {gateway.key}"},
        json={"model": "fast", "messages": [{"role": "user", "content": "say:hello"}]},
        timeout=10,
    )
    assert reply.status_code == 200, reply.text
    sent = fake_upstream.last
    assert sent.json["model"] == "gpt-4o-mini"
    assert sent.json["seed"] == 7
    assert sent.header("authorization") == f"Bearer {ENVIRON['OPENAI_API_KEY']}"


def test_an_example_address_is_left_out_and_named() -> None:
    azure = "{model_name: b, litellm_params: {model: azure/d, api_base: 'https://RESOURCE.openai.azure.com'}}"
    draft = imported(models("{model_name: a, litellm_params: {model: openai/gpt-4o}}", azure))
    assert list(draft.providers) == ["openai"]
    assert any("an example's" in line for line in draft.report.left_out)
