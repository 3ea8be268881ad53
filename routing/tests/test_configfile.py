"""The configuration document: what it may say, where it is wrong, and that applying it twice is once."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from accounts.apps import hasher
from accounts.keys import issue
from accounts.models import ApiKey, Team
from providers.apps import vault
from providers.models import CatalogueModel, Credential, Provider
from routing.configfile import ConfigError, load_yaml, parse
from routing.configfile_apply import Means, Outcome, apply
from routing.configfile_export import export, to_yaml
from routing.loader import build_snapshot
from routing.models import Revision, Route, Target
from routing.rehearsal import rehearsed
from tests.support.rows import SECRET, make_key, make_provider, make_route

CHOSEN = "a-key-that-somebody-chose-1234"
DOCUMENT = """
server: {port: 9000}
providers:
  default: groq
  openai: {api_key: "env:OPENAI", timeouts: {idle: 5, total: 60}}
  groq:
    kind: openai_compatible
    base_url: https://api.groq.com/openai/v1/
    credentials:
      - {label: blue, secret: "env:GROQ"}
      - {label: green, secret: gsk-green-0123456789, enabled: false}
models:
  - {kind: openai, name: gpt-4o, context_window: 128000, capabilities: [tools], prices: {input: 2.5}}
teams: [{name: crew}]
routes:
  - pattern: "gpt-*"
    targets: [{provider: openai}, {provider: groq, model: llama-3.3-70b, weight: 3, tier: 1}]
  - pattern: "gpt-*"
    team: crew
    priority: 2
    losses: strict
    targets: [{provider: groq, model: m, body_patch: {top_k: null}}]
keys:
  - {team: crew, value: "env:KEY", label: ci, allowed_models: ["gpt-*"], expires_at: 2099-01-31T00:00:00Z}
"""
ENVIRON = {"OPENAI": "sk-0123456789abcdef", "GROQ": "gsk-blue-0123456789", "KEY": CHOSEN}


def means(**environ: str) -> Means:
    return Means(vault=vault(), hasher=hasher(), environ={**ENVIRON, **environ})


def applied(text: str, **environ: str) -> Outcome:
    return apply(parse(load_yaml(text)), means(**environ), author="somebody", reason="test")


def problems(text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        applied(text, **environ)
    return caught.value.problems


@pytest.mark.usefixtures("database")
def test_a_document_fills_an_empty_database_and_does_nothing_the_second_time() -> None:
    outcome = applied(DOCUMENT)
    assert outcome.revision == 1
    snapshot = build_snapshot(vault())
    assert snapshot.providers["groq"].base_url == "https://api.groq.com/openai/v1"
    assert [c.secret for c in snapshot.providers["groq"].credentials] == ["gsk-blue-0123456789"]
    assert [c.secret for c in snapshot.providers["openai"].credentials] == ["sk-0123456789abcdef"]
    assert snapshot.providers["openai"].timeouts.idle == 5
    assert [r.name for r in snapshot.routes] == ["gpt-*", "gpt-*@crew", "default"]
    assert [(t.provider.name, t.tier, t.weight) for t in snapshot.routes[0].targets] == [
        ("openai", 0, 1),
        ("groq", 1, 3),
    ]
    assert snapshot.routes[1].targets[0].body_patch == {"top_k": None}
    assert [r.losses for r in snapshot.routes] == ["warn", "strict", "warn"]
    assert snapshot.keys[hasher().digest(CHOSEN)].allowed_models == ("gpt-*",)
    assert snapshot.catalogue["openai", "gpt-4o"].price.input == 2.5
    again = applied(DOCUMENT)
    assert (again.changes, again.revision) == ([], None)
    assert Revision.objects.filter(number__gt=0).count() == 1


@pytest.mark.django_db
def test_what_the_document_does_not_name_stays() -> None:
    make_route("mine", make_provider("mine"))
    key = make_key()
    applied(DOCUMENT)
    assert Route.objects.filter(name="mine").exists()
    assert ApiKey.objects.filter(pk=key.row.pk, revoked_at=None).exists()


@pytest.mark.django_db
def test_fields_that_are_not_named_keep_their_values() -> None:
    provider = make_provider(
        "groq", kind="openai_compatible", base_url="https://a.example/v1", idle_timeout=9
    )
    applied("providers: {groq: {enabled: false}}")
    provider.refresh_from_db()
    assert (provider.base_url, provider.idle_timeout, provider.enabled) == ("https://a.example/v1", 9, False)
    assert provider.credentials.count() == 1


@pytest.mark.django_db
def test_no_secret_is_in_what_is_said_of_a_change() -> None:
    outcome = applied(DOCUMENT)
    text = str(outcome) + str(list(Revision.objects.values()))
    for secret in (*ENVIRON.values(), "gsk-green-0123456789"):
        assert secret not in text


@pytest.mark.django_db
def test_a_dry_run_says_the_same_and_writes_nothing() -> None:
    document = parse(load_yaml(DOCUMENT))
    with rehearsed():
        outcome = apply(document, means(), author="olga", reason="r")
    assert not Provider.objects.exists()
    assert not Revision.objects.filter(number__gt=0).exists()
    assert [c["object"] for c in outcome.changes] == [c["object"] for c in applied(DOCUMENT).changes]


@pytest.mark.django_db
def test_a_changed_target_keeps_its_row_and_others_are_replaced() -> None:
    applied(DOCUMENT)
    kept = Target.objects.get(route__name="gpt-*", provider__name="openai").pk
    applied(
        'routes: [{pattern: "gpt-*", targets: [{provider: openai, weight: 7}, {provider: groq, model: x}]}]'
    )
    targets = Target.objects.filter(route__name="gpt-*")
    assert [(t.pk == kept, t.weight, t.upstream_model) for t in targets] == [(True, 7, ""), (False, 1, "x")]


@pytest.mark.django_db
def test_a_route_without_a_name_is_the_one_in_its_place_whatever_it_is_called() -> None:
    make_route("*", make_provider(), name="default", managed_by_env=True)
    make_provider("groq", kind="ollama")
    applied('routes: [{pattern: "*", targets: [{provider: groq}]}]')
    route = Route.objects.get()
    assert (route.name, route.managed_by_env) == ("default", False)
    assert route.targets.get().provider.name == "groq"


@pytest.mark.django_db
def test_a_private_address_is_taken_from_a_file() -> None:
    applied("providers: {vllm: {kind: openai_compatible, base_url: 'http://10.0.0.7:8000/v1'}}")
    assert Provider.objects.get().allow_private_addresses


@pytest.mark.django_db
def test_a_preset_fills_in_what_is_not_said() -> None:
    text = """
providers:
  groq: {preset: groq, api_key: "env:GROQ"}
  gpu: {preset: vllm, base_url: "http://10.0.0.7:8000/v1"}
  fr: {preset: mistral}
  mine: {preset: custom, base_url: "https://api.example.com/v1"}
"""
    applied(text)
    found = {p.name: (p.kind, p.address, p.allow_private_addresses) for p in Provider.objects.all()}
    assert found == {
        "groq": ("openai_compatible", "https://api.groq.com/openai/v1", False),
        "gpu": ("openai_compatible", "http://10.0.0.7:8000/v1", True),
        "fr": ("mistral", "https://api.mistral.ai/v1", False),
        "mine": ("openai_compatible", "https://api.example.com/v1", False),
    }
    assert applied(text).changes == []


@pytest.mark.django_db
def test_a_preset_that_lacks_something_says_what() -> None:
    found = problems("providers: {a: {preset: made-up}, b: {preset: azure}, c: {preset: custom}}")
    assert [line.partition(":")[0] for line in found] == [
        "providers.a.preset",
        "providers.b.base_url",
        "providers.c.base_url",
    ]


@pytest.mark.django_db
def test_every_problem_is_said_at_once_with_its_place() -> None:
    found = problems(
        """
providers:
  default: nowhere
  openai: {timeouts: {idle: 99999}, base_url: "http://169.254.169.254/"}
  other: {base_url: "https://x.example"}
teams: [{name: " crew"}]
models: [{kind: openai, name: "a b"}]
routes:
  - {pattern: "a b", targets: [{provider: openai}]}
  - {pattern: "x", targets: [{provider: nobody}]}
  - {pattern: "y", team: ghosts, targets: []}
  - {pattern: "z"}
keys:
  - {team: ghosts, value: "env:KEY"}
  - {team: " crew"}
"""
    )
    assert [line.partition(":")[0] for line in found] == [
        "teams[0].name",
        "providers.openai.timeouts.idle",
        "providers.openai.base_url",
        "providers.other.kind",
        "models[0].name",
        "routes[0].pattern",
        "routes[1].targets[0].provider",
        "routes[2].team",
        "routes[3].targets",
        "providers.default",
        "keys[0].team",
    ]
    # Who names a provider or team that was refused for its own fault is not blamed too.
    assert not any("named 'openai'" in line or "named ' crew'" in line for line in found)
    assert "providers.default: no provider is named 'nowhere'" in found
    assert not any(model.objects.exists() for model in (Provider, Route, Team, CatalogueModel))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "line 1, column 5: not valid YAML"),
        ("teams: [{name: a}]\nteams: []", "line 2, column 1: not valid YAML: the key teams is written twice"),
        ("? [a]\n: b", "a key must be plain text"),
        ("- a", "Expected `object`, got `array`"),
        ("port: 1", "Object contains unknown field `port`"),
        ("routes: [{patern: x}]", "routes[0]: Object"),
        ("routes: [{pattern: x, losses: loud}]", "routes[0].losses: Invalid enum value 'loud'"),
        (
            "routes: [{pattern: x, targets: [{provider: a, weight: -1}]}]",
            "routes[0].targets[0].weight: Expected",
        ),
        ("providers: {openai: {timeouts: {idle: 0}}}", "providers.openai.timeouts.idle: Expected"),
        ("providers: {openai: {url: x}}", "providers.openai: Object contains unknown field `url`"),
        ("models: [{kind: openai, name: x, prices: {input: cheap}}]", "models[0].prices.input: Expected"),
        ("keys: [{team: crew, expires_at: soon}]", "keys[0].expires_at: Invalid"),
        ('teams: [{name: "a\\0"}]', "a text holds a NUL character"),
        ('teams: [{name: "a\\ud800"}]', "not valid YAML|half of a surrogate pair"),
        ("!!python/object/apply:os.system [id]", "not valid YAML"),
    ],
)
@pytest.mark.django_db
def test_a_document_of_the_wrong_shape_says_where(text: str, problem: str) -> None:
    (found,) = problems(text)
    assert any(word in found for word in problem.split("|"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "providers: {openai: {api_key: 'env:MISSING'}}",
            "providers.openai.api_key: the environment has no MISSING",
        ),
        (
            "teams: [{name: a}]\nkeys: [{team: a, value: 'env:MISSING'}]",
            "keys[0].value: the environment has no MISSING",
        ),
        (
            "teams: [{name: a}]\nkeys: [{team: a, value: short}]",
            "keys[0].value: a chosen key needs at least 16",
        ),
    ],
)
@pytest.mark.django_db
def test_secrets_that_cannot_be_had_are_problems(text: str, problem: str) -> None:
    assert problem in problems(text)[0]


@pytest.mark.django_db
def test_what_cannot_be_done_without_a_secret_is_noted() -> None:
    outcome = applied(
        "providers: {openai: {credentials: [{label: x, last4: abcd}]}}\n"
        "teams: [{name: a}]\nkeys: [{team: a, prefix: gw-unknown}]"
    )
    assert outcome.notes == [
        "providers.openai.credentials[0]: skipped, a new credential needs a secret",
        "keys[0]: skipped, no key begins with gw-unknown and no value is given",
    ]
    assert not Credential.objects.exists()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["providers", "routes", "keys", "teams", "pattern", "default", "x"]),
                inner,
                max_size=3,
            )
        ),
    )
)
def test_no_document_breaks_the_parser(document: Any) -> None:
    with contextlib.suppress(ConfigError):
        parse(document)


def with_secrets(document: dict[str, Any], keys: list[str]) -> dict[str, Any]:
    """An export as its reader completes it."""
    for provider in document["providers"].values():
        for credential in provider["credentials"]:
            credential["secret"] = "env:SECRET"
    for entry, key in zip(document["keys"], keys, strict=True):
        del entry["prefix"]
        entry["value"] = key
    return document


@pytest.mark.usefixtures("database")
def test_an_export_applied_to_an_empty_database_gives_the_same_export() -> None:
    applied(DOCUMENT)
    Credential.objects.all().update(last4=SECRET[-4:])
    first = to_yaml(export())
    for model in (ApiKey, Target, Route, Team, Credential, Provider, CatalogueModel):
        model.objects.all().delete()
    completed = with_secrets(yaml.safe_load(first), [CHOSEN])
    apply(parse(load_yaml(to_yaml(completed))), means(SECRET=SECRET), author="somebody", reason="test")
    assert to_yaml(export()) == first


@pytest.mark.django_db
def test_an_export_applied_to_its_own_database_changes_nothing() -> None:
    applied(DOCUMENT)
    outcome = applied(to_yaml(export()))
    assert (outcome.changes, outcome.notes) == ([], [])


@pytest.mark.django_db
def test_an_export_has_no_secret() -> None:
    key = make_key()
    make_provider()
    applied(DOCUMENT)
    text = to_yaml(export())
    for secret in (key, CHOSEN, SECRET, "gsk-green-0123456789", *ENVIRON.values()):
        assert secret not in text
    for sealed in Credential.objects.values_list("sealed", flat=True):
        assert sealed not in text
    for digest in ApiKey.objects.values_list("digest", flat=True):
        assert digest not in text


def run(*words: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("config", *words, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.mark.django_db
def test_the_command_applies_exports_and_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "gateway.yaml"
    file.write_text(DOCUMENT, encoding="utf-8")
    out, _ = run("apply", "--dry-run", str(file))
    assert "+ provider groq" in out
    assert "nothing was written" in out
    out, _ = run("apply", str(file))
    assert out.splitlines()[-1].endswith("published as revision 1.")
    assert Revision.objects.get(number=1).reason == "config apply gateway.yaml"
    assert run("apply", str(file))[0] == "No changes.\n"
    file.write_text(run("export")[0], encoding="utf-8")
    assert run("apply", str(file)) == ("No changes.\n", "")
    monkeypatch.setattr("sys.stdin", io.StringIO("providers: {openai: {enabled: false}}"))
    assert "~ provider openai (enabled: True -> False)" in run("apply", "-")[0]


@pytest.mark.django_db
def test_the_command_names_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("routes: [{pattern: x}, {pattern: y}]")
    with pytest.raises(CommandError) as caught:
        run("apply", str(file))
    assert str(caught.value).splitlines()[1:] == [
        "routes[0].targets: a new route needs targets",
        "routes[1].targets: a new route needs targets",
    ]
    with pytest.raises(CommandError, match="cannot be read: No such file"):
        run("apply", str(tmp_path / "missing"))
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(CommandError, match="not UTF-8"):
        run("apply", str(file))


def test_an_issued_key_in_a_document_is_taken_as_it_is() -> None:
    """What `keys issue` printed may be written into a file for another gateway."""
    assert parse({"keys": [{"team": "a", "value": issue()}]}).keys[0].team == "a"
