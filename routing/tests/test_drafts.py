"""Drafts: what is saved into one steers nothing, is published at once as one revision, and never writes over
somebody else's change unseen."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.exceptions import PermissionDenied
from django.db import connections
from django.utils import timezone

from accounts.audit import AuditEntry
from accounts.models import Capture, Team
from providers.apps import vault
from providers.models import Credential, Provider
from routing.draft_ways import begin, decide, drop, publish_draft, seen, snapshot_of
from routing.drafts import DraftError, drafting
from routing.freeze import FrozenError
from routing.history import Place
from routing.measures import begin as begin_measure
from routing.models import CachePurge, Measure, Revision, Route, Target
from routing.models_drafts import Draft, DraftRow
from routing.revisions import hold, latest, publish
from routing.tests.admin_pages import act, browser, errors_of, form_of, page
from tests.support.rows import make_provider, make_route, make_staff

NEW = "sk-canary-draft-99887766-wxyz"


@pytest.fixture
def boss() -> Any:
    return browser(User.objects.create_superuser("boss", password="x"))


@pytest.fixture
def route() -> Route:
    found = make_route("gpt-*", make_provider("openai"))
    publish("olga", "first")
    return found


def opened(client: Any, name: str = "spring") -> Draft:
    client.post(page("routing_draft_add"), {"name": name, "note": "a pilot"})
    return Draft.objects.get(name=name)


def save(client: Any, where: str, *pks: Any, **values: Any) -> Any:
    form = form_of(client, page(where, *pks))
    return client.post(page(where, *pks), {**form, **values})


def add_both(client: Any) -> None:
    """A new provider, and a route to it."""
    words = {"credentials-0-label": "one", "credentials-0-secret": NEW}
    assert save(client, "providers_provider_add", name="mine", kind="openai", **words).status_code == 302
    listed = client.get(page("providers_provider_changelist"))
    number = next(row.pk for row in listed.context["cl"].result_list if row.name == "mine")
    target: Any = {"targets-0-provider": number, "targets-0-tier": 0, "targets-0-weight": 1}
    assert save(client, "routing_route_add", pattern="fast*", **target).status_code == 302


@pytest.mark.django_db
def test_objects_that_refer_to_each_other_are_drafted_and_published_at_once(boss: Any, route: Route) -> None:
    draft, before = opened(boss), latest()
    add_both(boss)
    save(boss, "routing_route_change", route.pk, tries=3)
    assert latest() == before
    assert not Provider.objects.filter(name="mine").exists()
    assert Route.objects.get().tries != 3
    shown = boss.get(page("routing_draft_change", draft.pk)).content.decode()
    assert "+ provider mine" in shown
    assert "+ route fast*" in shown
    assert "canary" not in shown
    assert NEW not in str(list(DraftRow.objects.values()))
    # Others see nothing of it, and the number of a row that is only drafted is given to nobody else.
    other = make_provider("other")
    assert {row.name for row in snapshot_of(draft).routes} == {"gpt-*", "fast*"}

    answer = boss.post(
        page("routing_draft_change", draft.pk),
        {"do": "publish", "reason": "go", "seen": seen(draft).print_},
        follow=True,
    )
    assert "Published as revision" in answer.content.decode()
    mine = Provider.objects.get(name="mine")
    assert mine.pk != other.pk
    assert Target.objects.get(route__pattern="fast*").provider == mine
    row = Credential.objects.get(provider=mine)
    assert vault().open(row.sealed, mine.pk) == NEW
    revision = Revision.objects.get(number=latest())
    assert (revision.number, revision.author, revision.reason) == (before + 1, "boss", "go")
    assert not DraftRow.objects.exclude(sealed="").exists()
    told = AuditEntry.objects.filter(object="draft spring").values_list("action", flat=True)
    assert {"added", "changed", "published"} == set(told)
    # The mode has ended with the draft.
    save(boss, "routing_route_change", route.pk, tries=1)
    assert latest() == before + 2


@pytest.mark.django_db
def test_a_deletion_and_an_action_of_a_list_go_into_the_draft(boss: Any, route: Route) -> None:
    make_route("old", make_provider("other"))
    publish("olga", "second")
    draft = opened(boss)
    old = Route.objects.get(pattern="old")
    boss.post(page("routing_route_delete", old.pk), {"post": "yes"})
    boss.post(page("providers_provider_delete", Provider.objects.get(name="other").pk), {"post": "yes"})
    act(boss, "routing_route_changelist", "disable", route.pk)
    assert (Route.objects.count(), Provider.objects.count(), latest()) == (2, 2, 2)
    assert {"- route old", "- provider other"} < {line.partition(" (")[0] for line in seen(draft).lines}
    publish_draft(draft, User.objects.get(), "")
    assert [(row.pattern, row.enabled) for row in Route.objects.all()] == [("gpt-*", False)]
    assert Provider.objects.count() == 1


@pytest.mark.django_db
def test_what_edits_nothing_is_done_at_once_in_the_mode_too(boss: Any, route: Route) -> None:
    """It was taken back with the draft, and the page said that it was done."""
    crew = Team.objects.create(name="crew")
    publish("olga", "second")
    Capture.objects.create(request_id="req_1", team_id=crew.pk, at=timezone.now(), status=200, sealed="x")
    draft = opened(boss)
    act(boss, "accounts_team_changelist", "forget_captures", crew.pk)
    assert not Capture.objects.exists()
    act(boss, "accounts_team_changelist", "purge_cache", crew.pk)
    act(boss, "routing_route_changelist", "purge_cache", route.pk)
    assert (CachePurge.objects.count(), latest(), seen(draft).lines) == (2, 4, [])


@pytest.mark.django_db
def test_others_changes_are_kept_and_a_clash_is_decided_by_somebody(boss: Any, route: Route) -> None:
    draft = opened(boss)
    save(boss, "routing_route_change", route.pk, tries=3, losses="strict")
    Route.objects.update(tries=2, queue_limit=7)
    publish("olga", "meanwhile")
    with pytest.raises(DraftError, match="tries was 1, is 2 since, and the draft says 3"):
        publish_draft(draft, None, "")
    assert "Somebody has changed this" in boss.get(page("routing_draft_change", draft.pk)).content.decode()
    # Another edit of the draft decides nothing.
    save(boss, "routing_route_change", route.pk, priority=4)
    assert seen(draft).clashes
    decide(draft, Place("route", route.pk), mine=False)
    publish_draft(draft, None, "")
    route.refresh_from_db()
    assert (route.tries, route.losses, route.queue_limit, route.priority) == (2, "strict", 7, 4)


@pytest.mark.django_db
@pytest.mark.parametrize("mine", [True, False])
def test_what_was_deleted_or_changed_meanwhile_is_decided_too(route: Route, mine: bool) -> None:
    other = make_route("old", Provider.objects.get())
    publish("olga", "second")
    draft = begin("spring", "ann")
    with drafting(draft):
        Route.objects.filter(pk=route.pk).update(tries=3)
        other.delete()
    Route.objects.filter(pattern="old").update(tries=2)
    Route.objects.filter(pk=route.pk).delete()
    publish("olga", "meanwhile")
    assert len(seen(draft).clashes) == 2
    for row in Route.objects.filter(pattern="old"):
        decide(draft, Place("route", row.pk), mine=mine)
    decide(draft, Place("route", route.pk), mine=mine)
    assert not seen(draft).clashes
    if not mine:
        assert not seen(draft).changes
        return
    assert [change["action"] for change in seen(draft).changes] == ["added", "deleted", "deleted"]
    # It comes back without its targets, which no draft holds.
    assert "route gpt-*" in str(seen(draft).problems)


@pytest.mark.django_db
def test_no_secret_goes_to_another_address_by_a_draft(route: Route) -> None:
    provider = Provider.objects.get()
    draft = begin("move", "ann")
    with drafting(draft):
        Provider.objects.update(base_url="https://new.example/v1")
        Credential.objects.update(sealed=vault().seal(NEW, provider.pk), last4="wxyz")
    assert not seen(draft).problems
    Credential.objects.create(
        provider=provider, label="two", sealed=vault().seal(NEW, provider.pk), last4="0000"
    )
    with pytest.raises(DraftError, match="entered for another address"):
        publish_draft(draft, None, "")
    Credential.objects.filter(label="two").delete()
    with drafting(draft):
        Provider.objects.update(base_url="https://newer.example/v1")
    with pytest.raises(DraftError, match="entered for another address"):
        publish_draft(draft, None, "")


@pytest.mark.django_db
def test_what_came_since_does_not_go_along_unseen(route: Route) -> None:
    draft = begin("less", "ann")
    with drafting(draft):
        route.delete()
    route = Route.objects.get()
    Target.objects.create(route=route, provider=Provider.objects.get(), tier=4)
    with pytest.raises(DraftError, match="would go with what the draft deletes"):
        publish_draft(draft, None, "")


@pytest.mark.django_db
def test_rights_are_asked_again_of_whoever_publishes(route: Route) -> None:
    draft = begin("private", "boss")
    with drafting(draft):
        Provider.objects.update(allow_private_addresses=True)
    ops = make_staff("routing.view_draft", "routing.change_draft", "providers.change_provider")
    with pytest.raises(PermissionDenied):
        publish_draft(draft, ops, "")
    viewer = browser(make_staff("routing.view_draft", name="viewer"))
    assert viewer.get(page("routing_draft_change", draft.pk)).status_code == 200
    for word in ("edit", "publish", "drop", "mine"):
        assert viewer.post(page("routing_draft_change", draft.pk), {"do": word}).status_code == 403
    assert not Provider.objects.get().allow_private_addresses


@pytest.mark.django_db
def test_what_was_not_seen_is_not_published_and_what_is_over_stays_so(boss: Any, route: Route) -> None:
    draft = opened(boss)
    save(boss, "routing_route_change", route.pk, tries=3)
    print_ = seen(draft).print_
    save(boss, "routing_route_change", route.pk, priority=5)
    with pytest.raises(DraftError, match="look again"):
        publish_draft(draft, None, "", print_)
    drop(draft, "boss")
    for refused in (lambda: drop(draft, "boss"), lambda: publish_draft(draft, None, "")):
        with pytest.raises(DraftError, match="dropped already"):
            refused()
    # Who still had it open publishes nothing by mistake.
    before = latest()
    answer = boss.post(page("routing_route_change", route.pk), {"tries": 2}, follow=True)
    assert "Nothing was saved" in answer.content.decode()
    assert latest() == before


@pytest.mark.django_db
def test_a_freeze_holds_up_publishing_and_not_drafting(boss: Any, route: Route) -> None:
    draft = opened(boss)
    begin_measure(Measure(kind="freeze", reason="an incident"), 30, "ann")
    assert save(boss, "routing_route_change", route.pk, tries=3).status_code == 302
    with pytest.raises(FrozenError):
        publish_draft(draft, None, "")
    draft.refresh_from_db()
    assert (draft.state, draft.rows.count(), Route.objects.get().tries) == ("open", 1, 1)


@pytest.mark.django_db
def test_whose_right_is_taken_away_saves_neither_into_the_draft_nor_at_once(route: Route) -> None:
    names = ("routing.view_route", "routing.change_route", "routing.view_target", "providers.view_provider")
    drafts = [f"routing.{verb}_draft" for verb in ("view", "add", "change")]
    user = make_staff(*names, *drafts)
    client = browser(user)
    draft = opened(client)
    form = form_of(client, page("routing_route_change", route.pk))
    user.user_permissions.remove(*Permission.objects.filter(content_type__model="draft"))
    before = latest()
    answer = client.post(page("routing_route_change", route.pk), {**form, "tries": 3})
    assert (answer.status_code, latest(), draft.rows.count()) == (403, before, 0)


@pytest.mark.django_db
def test_the_page_of_a_draft_tells_findings_and_explains_by_it(boss: Any, route: Route) -> None:
    draft = opened(boss)
    act(boss, "providers_provider_changelist", "disable", Provider.objects.get().pk)
    shown = boss.get(page("routing_draft_change", draft.pk))
    assert any(each.where.table == "route" for each in shown.context["findings"])
    boss.post(page("routing_route_delete", route.pk), {"post": "yes"})
    asked = f"?draft={draft.pk}&model=gpt-4o"
    assert "steers nothing yet" in boss.get(f"/admin/explain/{asked}").content.decode()
    said = boss.get(f"/admin/explain.json{asked}").json()
    assert said["targets"] == []
    assert boss.get("/admin/explain.json?model=gpt-4o").json()["targets"]
    assert boss.get("/admin/explain.json?model=gpt-4o&draft=999").status_code == 400


@pytest.mark.django_db
def test_a_name_stands_for_one_draft(boss: Any, route: Route) -> None:
    draft = opened(boss)
    again = boss.post(page("routing_draft_add"), {"name": "spring"})
    assert "There is a draft of this name" in errors_of(again)
    drop(draft, "boss")
    assert boss.post(page("routing_draft_add"), {"name": "spring"}).status_code == 302


@pytest.mark.usefixtures("database")
def test_two_who_publish_at_once_publish_one_revision() -> None:
    provider = make_provider("openai")
    route = make_route("gpt-*", provider)
    number = publish("olga", "first")
    draft = begin("spring", "ann")
    with drafting(draft):
        Route.objects.filter(pk=route.pk).update(tries=3)
        Target.objects.create(route=route, provider=provider, tier=2)
    start = threading.Barrier(2)
    said: list[object] = []

    def go() -> None:
        try:
            start.wait(30)
            said.append(publish_draft(Draft.objects.get(), None, ""))
        except DraftError as error:
            said.append(str(error))
        finally:
            connections.close_all()

    both = [threading.Thread(target=go) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join(60)
    assert sorted(map(str, said)) == [str(number + 1), "The draft spring is published already."]
    assert (latest(), Target.objects.count()) == (number + 1, 2)


@pytest.mark.usefixtures("database")
def test_a_number_that_a_draft_has_taken_is_given_to_nobody() -> None:
    drafts = [begin(name, "ann") for name in ("one", "two")]
    for draft in drafts:
        with drafting(draft):
            hold()
            make_route(f"{draft}*", make_provider(f"of-{draft}", kind="openai"))
    make_route("third", make_provider("third"))
    publish("olga", "third")
    for draft in drafts:
        publish_draft(draft, None, "")
    assert Route.objects.count() == Provider.objects.count() == 3
    told = {route.name: route.targets.get().provider.name for route in Route.objects.all()}
    assert told == {"one*": "of-one", "two*": "of-two", "third": "third"}
