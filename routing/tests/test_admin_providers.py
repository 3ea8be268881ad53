"""Providers in the admin: secrets go in and never come out, addresses are judged, and tests are guarded."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client

from providers.apps import vault
from providers.models import CatalogueModel, Credential, Provider
from routing.tests.admin_pages import ALL, act, browser, errors_of, form_of, only_revision, page, published
from tests.support.fake_upstream import FakeUpstream
from tests.support.rows import SECRET, make_credential, make_provider, make_staff

pytestmark = pytest.mark.django_db

NEW = "sk-canary-of-the-new-one-0123456789"


@pytest.fixture
def owner() -> Client:
    return browser(User.objects.create_superuser("owner"))


@pytest.fixture
def operator() -> Client:
    return browser(make_staff(*ALL))


def add(client: Client, **data: Any) -> Any:
    """Add a provider with one credential."""
    form = form_of(client, page("providers_provider_add"))
    form |= {
        "name": "openai",
        "kind": "openai",
        "credentials-0-label": "default",
        "credentials-0-secret": NEW,
    }
    return client.post(page("providers_provider_add"), {**form, **data})


def change(client: Client, provider: Provider, **data: Any) -> Any:
    url = page("providers_provider_change", provider.pk)
    return client.post(url, {**form_of(client, url), **data})


def test_adding_a_provider_seals_its_secret_and_publishes_once(operator: Client) -> None:
    assert add(operator).status_code == 302
    row = Credential.objects.get()
    assert vault().open(row.sealed, row.provider_id) == NEW
    assert (row.last4, row.provider.name, row.provider.enabled) == ("6789", "openai", True)
    revision = only_revision()
    assert (revision.author, revision.reason) == ("ops", "provider openai added")
    assert NEW not in str(revision.summary)
    assert "replaced" in str(revision.summary)
    assert NEW not in str(list(LogEntry.objects.values()))


def test_the_secret_is_on_no_page_afterwards(operator: Client) -> None:
    add(operator)
    provider = Provider.objects.get()
    for url in (
        page("providers_provider_change", provider.pk),
        page("providers_provider_changelist"),
        page("providers_provider_history", provider.pk),
    ):
        text = operator.get(url).content.decode()
        assert NEW not in text
        assert Credential.objects.get().sealed not in text
    assert "…6789" in operator.get(page("providers_provider_change", provider.pk)).content.decode()


def test_a_refused_form_does_not_send_the_secret_back(operator: Client) -> None:
    response = add(operator, name="Not A Name")
    assert "Lower-case letters" in errors_of(response)
    assert NEW not in response.content.decode()
    assert published() == []
    assert not Provider.objects.exists()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"credentials-0-label": "mine", "credentials-0-secret": ""}, "Enter the secret"),
        ({"credentials-0-secret": "two words"}, "no spaces"),
        ({"credentials-0-secret": "sk-ümlaut-0123456789"}, "printable ASCII"),
        ({"base_url": "http://169.254.169.254/"}, "metadata"),
        ({"base_url": "http://10.0.0.7/v1"}, "private"),
        ({"base_url": "http://localhost:9/v1"}, "private"),
        ({"base_url": "file:///etc/passwd"}, "must begin with"),
        ({"kind": "openai_compatible"}, "no address of its own"),
        ({"kind": "made-up"}, "valid choice"),
        ({"connect_timeout": "0"}, "Seconds above 0"),
        ({"total_timeout": "nan"}, "number"),
    ],
)
def test_a_bad_form_is_refused_and_nothing_is_published(
    operator: Client, data: dict[str, Any], words: str
) -> None:
    assert words in errors_of(add(operator, **data))
    assert published() == []
    assert not Provider.objects.exists()


def test_a_preset_is_a_link_that_fills_in_the_form(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("providers.forms.system_lookup", lambda _: ["93.184.216.34"])
    url = page("providers_provider_add")
    assert 'href="?preset=groq"' in operator.get(url).content.decode()
    response = operator.get(url + "?preset=groq")
    assert "https://console.groq.com/keys" in response.content.decode()
    form = form_of(operator, url + "?preset=groq")
    assert (form["name"], form["kind"], form["base_url"]) == (
        "groq",
        "openai_compatible",
        "https://api.groq.com/openai/v1",
    )
    form |= {"credentials-0-label": "default", "credentials-0-secret": NEW}
    assert operator.post(url + "?preset=groq", form).status_code == 302
    assert Provider.objects.get().address == "https://api.groq.com/openai/v1"
    # A second account of the same service.
    assert form_of(operator, url + "?preset=groq")["name"] == "groq-2"


def test_a_link_fills_in_nothing_but_a_preset(operator: Client) -> None:
    """Or somebody could be led to enter a secret for a place that the link has chosen."""
    query = "?name=openai&kind=openai&base_url=https://evil.example&preset=made-up"
    form = form_of(operator, page("providers_provider_add") + query)
    assert not form.get("name")
    assert not form.get("base_url")
    assert not form.get("kind")


def test_a_private_preset_is_ticked_for_who_may(owner: Client, operator: Client) -> None:
    url = page("providers_provider_add") + "?preset=vllm"
    assert form_of(owner, url)["allow_private_addresses"] == "on"
    assert "allow_private_addresses" not in form_of(operator, url)
    assert "Only a superuser may permit" in operator.get(url).content.decode()


def test_a_changed_provider_is_offered_no_presets(operator: Client) -> None:
    provider = make_provider()
    text = operator.get(page("providers_provider_change", provider.pk)).content.decode()
    assert "?preset=" not in text


def test_an_empty_secret_keeps_the_old_one_and_a_new_one_replaces_it(operator: Client) -> None:
    provider = make_provider()
    row = provider.credentials.get()
    Credential.objects.update(managed_by_env=True)
    assert change(operator, provider, **{"credentials-0-label": "renamed"}).status_code == 302
    row.refresh_from_db()
    assert (row.label, vault().open(row.sealed, provider.pk), row.managed_by_env) == ("renamed", SECRET, True)
    assert change(operator, provider, **{"credentials-0-secret": f" {NEW} "}).status_code == 302
    row.refresh_from_db()
    assert (vault().open(row.sealed, provider.pk), row.last4, row.managed_by_env) == (NEW, "6789", False)
    assert [r.reason for r in published()] == ["provider openai changed"] * 2
    assert published()[0].summary[0]["fields"] == {
        "credential renamed …abcd": {"label": ["default", "renamed"]}
    }


def test_a_second_credential_and_a_removal(operator: Client) -> None:
    provider = make_provider()
    more = {
        "credentials-TOTAL_FORMS": "2",
        "credentials-0-DELETE": "on",
        "credentials-1-label": "second",
        "credentials-1-secret": NEW,
        "credentials-1-enabled": "on",
    }
    assert change(operator, provider, **more).status_code == 302
    assert [c.label for c in provider.credentials.all()] == ["second"]
    fields = only_revision().summary[0]["fields"]
    assert fields["credential default …abcd"] == "removed"
    assert fields["credential second …6789"]["secret"] == "replaced"


def test_two_credentials_with_one_label_are_refused(operator: Client) -> None:
    provider = make_provider()
    more = {"credentials-TOTAL_FORMS": "2", "credentials-1-label": "default", "credentials-1-secret": NEW}
    assert errors_of(change(operator, provider, **more))
    assert published() == []


def test_saving_without_a_change_publishes_nothing(operator: Client) -> None:
    provider = make_provider()
    assert change(operator, provider).status_code == 302
    assert published() == []


def test_s28_a_new_address_wants_every_secret_anew(operator: Client) -> None:
    provider = make_provider()
    make_credential(provider, label="second")
    target = {"base_url": "https://attacker.example/v1"}
    assert "must be entered again" in errors_of(change(operator, provider, **target))
    assert "must be entered again" in errors_of(
        change(operator, provider, **target, **{"credentials-0-secret": NEW})
    )
    assert "must be entered again" in errors_of(
        change(operator, provider, **target, **{"credentials-0-secret": NEW, "credentials-1-enabled": ""})
    )
    # A form that does not mention a credential cannot slip it through either.
    gone = {"credentials-TOTAL_FORMS": "0", "credentials-INITIAL_FORMS": "0"}
    assert "must be entered again" in errors_of(change(operator, provider, **target, **gone))
    assert published() == []
    both = {"credentials-0-secret": NEW, "credentials-1-DELETE": "on"}
    assert change(operator, provider, **target, **both).status_code == 302
    provider.refresh_from_db()
    assert provider.base_url == "https://attacker.example/v1"
    assert [vault().open(c.sealed, provider.pk) for c in provider.credentials.all()] == [NEW]


def test_s28_another_kind_has_another_address(operator: Client) -> None:
    provider = make_provider()
    assert "must be entered again" in errors_of(change(operator, provider, kind="anthropic"))


def test_s28_who_may_not_enter_secrets_may_not_change_where_they_go() -> None:
    provider = make_provider()
    client = browser(make_staff("providers.view_provider", "providers.change_provider"))
    url = page("providers_provider_change", provider.pk)
    form = form_of(client, url)
    assert not {"base_url", "kind", "credentials-0-secret"} & form.keys()
    client.post(url, {**form, "base_url": "https://attacker.example/v1", "kind": "anthropic", "enabled": ""})
    provider.refresh_from_db()
    assert (provider.base_url, provider.kind, provider.enabled) == ("", "openai", False)


def test_an_edited_address_no_longer_follows_the_environment(operator: Client) -> None:
    provider = make_provider(managed_by_env=True, secret=None)
    change(operator, provider, idle_timeout="9")
    provider.refresh_from_db()
    assert (provider.managed_by_env, provider.idle_timeout) == (True, 9)
    change(operator, provider, base_url="https://proxy.example/v1")
    provider.refresh_from_db()
    assert not provider.managed_by_env


def test_s20_only_a_superuser_may_let_a_provider_into_the_private_network(
    owner: Client, operator: Client
) -> None:
    private = {"base_url": "http://10.0.0.7/v1", "allow_private_addresses": "on"}
    assert "private" in errors_of(add(operator, **private))
    assert add(owner, **private).status_code == 302
    assert Provider.objects.get().allow_private_addresses


def test_s20_a_public_name_of_a_private_address_is_refused(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("providers.forms.system_lookup", lambda _: ["10.0.0.1"])
    assert "private" in errors_of(add(operator, base_url="https://innocent.example/v1"))
    monkeypatch.setattr("providers.forms.system_lookup", lambda _: ["93.184.216.34"])
    assert add(operator, base_url="https://innocent.example/v1").status_code == 302


def test_switching_many_publishes_once(operator: Client) -> None:
    rows = [make_provider(name) for name in ("a", "b", "c")]
    act(operator, "providers_provider_changelist", "disable", *(row.pk for row in rows))
    assert not Provider.objects.filter(enabled=True).exists()
    assert only_revision().reason == "provider a changed; provider b changed; provider c changed"
    assert only_revision().summary[0]["fields"] == {"enabled": [True, False]}
    act(operator, "providers_provider_changelist", "disable", *(row.pk for row in rows))
    assert len(published()) == 1
    act(operator, "providers_provider_changelist", "enable", rows[0].pk)
    assert [p.enabled for p in Provider.objects.order_by("name")] == [True, False, False]


def test_deleting_publishes_once_from_the_page_and_from_the_list(operator: Client) -> None:
    one, two, three = (make_provider(name) for name in ("a", "b", "c"))
    assert operator.post(page("providers_provider_delete", one.pk), {"post": "yes"}).status_code == 302
    assert only_revision().reason == "provider a deleted"
    data = {"action": "delete_selected", "_selected_action": [two.pk, three.pk], "post": "yes"}
    operator.post(page("providers_provider_changelist"), data)
    assert published()[1].reason in (
        "provider b deleted; provider c deleted",
        "provider c deleted; provider b deleted",
    )
    assert not Provider.objects.exists()


def test_the_history_of_a_provider_can_be_read(operator: Client) -> None:
    add(operator)
    provider = Provider.objects.get()
    change(operator, provider, idle_timeout="9")
    response = operator.get(page("providers_provider_history", provider.pk))
    assert response.status_code == 200
    assert len(response.context["action_list"]) == 2


def test_a_change_and_its_revision_are_one(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = make_provider()

    def broken(*_: object, **__: object) -> int:
        raise RuntimeError("no revision")

    monkeypatch.setattr("routing.admin_base.publish", broken)
    with pytest.raises(RuntimeError):
        change(operator, provider, idle_timeout="9")
    with pytest.raises(RuntimeError):
        act(operator, "providers_provider_changelist", "disable", provider.pk)
    provider.refresh_from_db()
    assert (provider.idle_timeout, provider.enabled) == (60, True)


@pytest.fixture
def tried(fake_upstream: FakeUpstream) -> Provider:
    cache.clear()
    return make_provider(base_url=fake_upstream.openai_url, allow_private_addresses=True)


DIALOG = {"_form_submitted": "True"}


def test_s25_a_test_is_asked_for_and_its_result_shown(
    owner: Client, tried: Provider, fake_upstream: FakeUpstream
) -> None:
    url = page("providers_provider_test", tried.pk)
    assert owner.get(url).status_code == 200
    assert fake_upstream.requests == []
    response = owner.post(url, DIALOG)
    assert response.headers["hx-redirect"] == page("providers_provider_change", tried.pk)
    assert [request.path for request in fake_upstream.requests] == ["/v1/models"]
    text = owner.get(response.headers["hx-redirect"]).content.decode()
    assert "openai: default …abcd: reachable, and the credential is accepted" in text
    assert published() == []


def test_s25_a_second_test_at_once_is_refused(
    owner: Client, tried: Provider, fake_upstream: FakeUpstream
) -> None:
    url = page("providers_provider_test", tried.pk)
    owner.post(url, DIALOG)
    owner.post(url, DIALOG)
    assert len(fake_upstream.requests) == 1


def test_s25_only_who_was_given_the_right_may_test(tried: Provider, fake_upstream: FakeUpstream) -> None:
    url = page("providers_provider_test", tried.pk)
    assert browser(make_staff(*ALL)).post(url, DIALOG).status_code == 403
    tester = browser(make_staff("providers.view_provider", "providers.test_provider", name="tester"))
    assert tester.post(url, DIALOG).status_code == 200
    assert len(fake_upstream.requests) == 1


def test_s37_a_test_without_a_token_of_the_page_is_refused(
    tried: Provider, fake_upstream: FakeUpstream
) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("owner"))
    assert client.post(page("providers_provider_test", tried.pk), DIALOG).status_code == 403
    assert fake_upstream.requests == []


def test_testing_what_is_not_there_is_not_found(owner: Client) -> None:
    assert owner.post(page("providers_provider_test", 999), DIALOG).status_code == 404


def test_an_edited_price_is_kept_until_it_follows_the_list_again(operator: Client) -> None:
    row = CatalogueModel.objects.create(kind="openai", name="gpt-4o", input_price=1)
    url = page("providers_cataloguemodel_change", row.pk)
    operator.post(url, {**form_of(operator, url), "input_price": "7.25"})
    row.refresh_from_db()
    assert (float(row.input_price or 0), row.overridden) == (7.25, True)
    act(operator, "providers_cataloguemodel_changelist", "follow_price_list", row.pk)
    row.refresh_from_db()
    assert (float(row.input_price or 0), row.overridden) == (2.5, False)
    assert len(published()) == 2


def test_a_secret_of_another_address_is_enabled_only_by_entering_it(operator: Client) -> None:
    provider = make_provider("openai", base_url="https://old.example/v1")
    Credential.objects.update(enabled=False, entered_for="openai https://new.example/v1")
    url = page("providers_provider_change", provider.pk)
    assert "for another address" in operator.get(url).content.decode()
    ticked = {"credentials-0-enabled": "on"}
    assert "enter it anew" in errors_of(change(operator, provider, **ticked))
    assert not Credential.objects.get().enabled
    assert change(operator, provider, **ticked, **{"credentials-0-secret": NEW}).status_code == 302
    row = Credential.objects.get()
    assert (row.enabled, row.entered_for) == (True, "")
