"""The button of a form that saves its edit into a draft in place of publishing it."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from accounts.audit import AuditEntry
from providers.apps import vault
from providers.models import Credential, Provider
from routing.draft_ways import decide, publish_draft, seen
from routing.drafts import DraftError
from routing.history import Place
from routing.measures import begin as begin_measure
from routing.models import Measure, Route
from routing.models_approvals import ASKED, VOID, Approval
from routing.models_drafts import Draft
from routing.revisions import latest, publish
from routing.rewind import undo
from routing.tests.admin_pages import browser, errors_of, form_of, page
from tests.support.rows import SECRET, make_provider, make_route, make_staff

NEW = "sk-canary-button-99887766-wxyz"
DRAFTS = [f"routing.{verb}_draft" for verb in ("view", "add", "change")]
pytestmark = pytest.mark.django_db


@pytest.fixture
def boss() -> Any:
    return browser(User.objects.create_superuser("boss"))


@pytest.fixture
def route() -> Route:
    found = make_route("gpt-*", make_provider("openai"))
    publish("olga", "first")
    return found


def into(client: Any, where: str, *pks: Any, draft: Any = "new", **values: Any) -> Any:
    """The form of a page with these values, saved by the button."""
    form = form_of(client, page(where, *pks))
    return client.post(page(where, *pks), {**form, **values, "_into_draft": "", "_draft": draft}, follow=True)


def test_an_edit_goes_into_a_new_draft_and_is_published_with_it(boss: Any, route: Route) -> None:
    answer = into(boss, "routing_route_change", route.pk, tries=3)
    draft = Draft.objects.get()
    assert answer.redirect_chain[-1][0] == page("routing_draft_change", draft.pk)
    said = [str(each) for each in answer.context["messages"]]
    assert said == [f"Saved into the draft {draft}. It steers nothing until it is published."]
    route.refresh_from_db()
    assert (route.tries, latest(), draft.author, draft.name[:5]) == (1, 1, "boss", "boss ")
    publish_draft(draft, User.objects.get(), "")
    route.refresh_from_db()
    assert (route.tries, latest()) == (3, 2)


def test_what_else_the_draft_says_of_the_same_object_stays(boss: Any, route: Route) -> None:
    """The form shows the published state: what is untouched in it is no edit."""
    into(boss, "routing_route_change", route.pk, tries=3)
    draft = Draft.objects.get()
    into(boss, "routing_route_change", route.pk, draft=draft.pk, losses="strict")
    # And others' changes beside both.
    Route.objects.update(priority=7)
    publish("olga", "meanwhile")
    into(boss, "routing_route_change", route.pk, draft=draft.pk, affinity="session", losses="silent")
    assert not seen(draft).clashes
    publish_draft(draft, None, "")
    route.refresh_from_db()
    assert (route.tries, route.losses, route.affinity, route.priority) == (3, "silent", "session", 7)
    assert Draft.objects.count() == 1


def test_a_clash_from_before_is_no_less_one(boss: Any, route: Route) -> None:
    into(boss, "routing_route_change", route.pk, tries=3)
    draft = Draft.objects.get()
    Route.objects.update(tries=2)
    publish("olga", "meanwhile")
    into(boss, "routing_route_change", route.pk, draft=draft.pk, priority=4)
    assert [each.column for each in seen(draft).clashes] == ["tries"]
    # Who has seen the newer value and sets it anew has decided.
    into(boss, "routing_route_change", route.pk, draft=draft.pk, tries=1)
    assert not seen(draft).clashes


def test_a_new_provider_with_its_secret_and_another_one_for_it(boss: Any, route: Route) -> None:
    words = {"name": "mine", "kind": "openai", "credentials-0-label": "one", "credentials-0-secret": SECRET}
    into(boss, "providers_provider_add", **words)
    draft = Draft.objects.get()
    assert Provider.objects.get().name == "openai"
    into(
        boss,
        "providers_provider_change",
        Provider.objects.get().pk,
        draft=draft.pk,
        **{"credentials-0-secret": NEW},
    )
    publish_draft(draft, None, "")
    secrets = {
        row.provider.name: vault().open(row.sealed, row.provider_id) for row in Credential.objects.all()
    }
    assert secrets == {"mine": SECRET, "openai": NEW}


def test_a_form_that_is_refused_or_unchanged_begins_no_draft(boss: Any, route: Route) -> None:
    refused = into(boss, "routing_route_change", route.pk, tries=-1)
    assert "tries" in errors_of(refused)
    unchanged = into(boss, "routing_route_change", route.pk)
    assert "Nothing was changed" in unchanged.content.decode()
    assert not Draft.objects.exists()
    assert not AuditEntry.objects.filter(object__startswith="draft").exists()
    assert latest() == 1


@pytest.mark.parametrize("over", ["999999", "x", "-1", "٣"])
def test_a_draft_that_is_over_takes_nothing_and_nothing_is_published(
    boss: Any, route: Route, over: str
) -> None:
    answer = into(boss, "routing_route_change", route.pk, draft=over, tries=3)
    assert "That draft is over. Nothing was saved." in answer.content.decode()
    route.refresh_from_db()
    assert (route.tries, latest(), Draft.objects.count()) == (1, 1, 0)


def test_it_takes_the_right_to_the_object_and_the_right_to_drafts(route: Route) -> None:
    edits = ("routing.view_route", "routing.change_route", "routing.view_target", "providers.view_provider")
    plain = browser(make_staff(*edits, name="plain"))
    form = form_of(plain, page("routing_route_change", route.pk))
    assert "_into_draft" not in plain.get(page("routing_route_change", route.pk)).content.decode()
    said = {**form, "tries": 3, "_into_draft": "", "_draft": "new"}
    assert plain.post(page("routing_route_change", route.pk), said).status_code == 403
    looks = browser(make_staff("routing.view_route", *DRAFTS, name="looks"))
    assert "_into_draft" not in looks.get(page("routing_route_change", route.pk)).content.decode()
    assert looks.post(page("routing_route_change", route.pk), said).status_code == 403
    route.refresh_from_db()
    assert (route.tries, latest(), Draft.objects.count()) == (1, 1, 0)
    assert (
        "Save into draft"
        in browser(make_staff(*edits, *DRAFTS)).get(page("routing_route_change", route.pk)).content.decode()
    )


def test_where_it_is_offered_and_what_comes_first(boss: Any, route: Route) -> None:
    mine, theirs, asked = (
        Draft.objects.create(name=name, author="x", editors=editors)
        for name, editors in (("mine", [User.objects.get().pk]), ("theirs", []), ("asked", []))
    )
    Approval.objects.create(draft=asked, asked_by="x", state=ASKED)
    # The others' is the last changed.
    found = boss.get(page("routing_route_change", route.pk)).context["into_drafts"]
    assert found == [(str(mine.pk), "mine"), (str(theirs.pk), "theirs"), ("new", "a new draft")]
    for name in ("accounts_apikey_add", "auth_user_add"):
        assert "_into_draft" not in boss.get(page(name)).content.decode(), name
    assert "_into_draft" not in boss.get(page("accounts_team_add") + "?_popup=1").content.decode()
    into(boss, "routing_route_change", route.pk, draft=asked.pk, tries=3)
    assert Approval.objects.get().state == VOID
    # Within the mode all buttons save into its draft.
    boss.post(page("routing_draft_change", mine.pk), {"do": "edit"})
    assert "_into_draft" not in boss.get(page("routing_route_change", route.pk)).content.decode()


def test_a_freeze_holds_up_publishing_and_not_this(boss: Any, route: Route) -> None:
    begin_measure(Measure(kind="freeze", reason="an incident"), 30, "ann")
    into(boss, "routing_route_change", route.pk, tries=3)
    assert Draft.objects.get().rows.count() == 1
    assert latest() == 2


def test_what_something_refers_to_is_told_by_its_name(boss: Any, route: Route) -> None:
    """In the draft, in a clash, in the audit log and on the way back."""
    other, third = make_provider("other"), make_provider("third")
    publish("olga", "second")
    into(boss, "routing_route_change", route.pk, **{"targets-0-provider": other.pk})
    draft = Draft.objects.get()
    assert "provider: 'openai' -> 'other'" in seen(draft).lines[0]
    route.targets.update(provider=third)
    publish("olga", "third")
    with pytest.raises(
        DraftError, match="provider was 'openai', is 'third' since, and the draft says 'other'"
    ):
        publish_draft(draft, None, "")
    decide(draft, Place("target", route.targets.get().pk), mine=True)
    number = publish_draft(draft, None, "")
    (row,) = AuditEntry.objects.filter(revision=number)
    assert row.changes == {"provider": ["third", "other"]}
    back = undo(number, "olga")
    assert back.changes[0]["fields"] == {"provider": ["other", "third"]}
