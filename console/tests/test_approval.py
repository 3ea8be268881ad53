"""Two people for risky changes: who answers, to what, and what makes it void. Kinds and paths are in
test_approval_paths, ways around in test_approval_around."""

from __future__ import annotations

import threading
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.test import Client

from accounts.audit import AuditEntry
from accounts.models import Limit
from console.tests.risky import SECRET, furnish, post, replaced, secret, targets, waiting
from console.tests.test_manage_access import ask, bearer, member
from providers.models import Credential, Provider
from routing.approval_gate import Leave, NeedsApprovalError
from routing.approvals import approve, asked, break_glass, keep_asked, publish_or_ask, reject, withdraw
from routing.draft_ways import begin, drop, publish_draft, seen
from routing.drafts import DraftError, drafting
from routing.freeze import FrozenError
from routing.measures import begin as begin_measure
from routing.models import Measure, Revision, Route, Target
from routing.models_approvals import Approval
from routing.models_drafts import Draft, DraftRow
from routing.revisions import hold, latest, publish
from routing.tests.admin_pages import browser, page
from tests.support.rows import make_provider, make_route

pytestmark = pytest.mark.usefixtures("two_people")


@pytest.mark.parametrize("words", ["rout", "all,x", "off,routes"])
def risky(user: User) -> Draft:
    """A limit raised by this user, and kept."""
    post(browser(user), "accounts_limit_change", Limit.objects.get().pk, amount=500)
    return waiting()


def test_who_asked_or_edited_does_not_approve(second: User) -> None:
    owner, other = member("owner"), User.objects.create_superuser("other")
    draft = risky(owner)
    print_ = seen(draft).print_
    for user in (owner, User.objects.get(pk=owner.pk)):
        with pytest.raises(DraftError, match="somebody else"):
            approve(draft, user, print_)
        with pytest.raises(DraftError, match="somebody else"):
            reject(draft, user, "no")
    # A new name does not make him somebody else.
    User.objects.filter(pk=owner.pk).update(username="renamed")
    with pytest.raises(DraftError, match="somebody else"):
        approve(draft, User.objects.get(pk=owner.pk), print_)
    # Whoever puts something in is an author too, and what was asked for is void.
    client = browser(second)
    client.post(page("routing_draft_change", draft.pk), {"do": "edit"})
    post(client, "accounts_limit_change", Limit.objects.get().pk, amount=900)
    assert Approval.objects.get().state == "void"
    with pytest.raises(DraftError, match="void"):
        approve(draft, other, print_)
    draft.refresh_from_db()
    assert isinstance(publish_or_ask(draft, other, "go"), Approval)
    for user in (second, other):
        with pytest.raises(DraftError, match="somebody else"):
            approve(draft, user, seen(draft).print_)
    assert latest() == 1


def test_what_is_tampered_with_or_overtaken_is_void(second: User) -> None:
    draft = risky(member("owner"))
    print_ = seen(draft).print_
    with pytest.raises(DraftError, match="look again"):
        approve(draft, second, "another")
    row = draft.rows.get()
    row.values = {**row.values, "amount": 9999}
    row.save()
    assert approve(draft, second, print_).revision is None
    assert (Approval.objects.get().state, latest(), Limit.objects.get().amount) == ("void", 1, 10)
    assert AuditEntry.objects.filter(action="voided").count() == 1

    row.values = {**row.values, "amount": 600}
    row.save()
    publish_or_ask(draft, User.objects.get(username="owner"), "again")
    # Beside it, nothing is in the way; in the same column it is.
    Route.objects.filter(pattern="gpt-*").update(tries=3)
    publish("olga", "beside", leave=Leave())
    assert seen(draft).print_ == asked(draft).print  # type: ignore[union-attr]  # one was asked for
    Limit.objects.update(amount=11)
    publish("olga", "meanwhile", leave=Leave())
    found = approve(draft, second, asked(draft).print)  # type: ignore[union-attr]  # one was asked for
    assert (found.revision, Limit.objects.get().amount, latest()) == (None, 11, 3)
    assert asked(draft) is None


def test_a_secret_that_was_changed_in_the_draft_is_noticed(second: User) -> None:
    draft = begin("secret", "ann")
    with drafting(draft):
        replaced()
    publish_or_ask(draft, User.objects.create_superuser("root"), "go")
    print_ = seen(draft).print_
    row = draft.rows.get()
    other = Credential.objects.get(provider__kind="openai").sealed
    DraftRow.objects.filter(pk=row.pk).update(sealed=other)
    assert approve(draft, second, print_).revision is None
    assert latest() == 1


def test_who_is_no_member_of_staff_any_more_asked_for_nothing(second: User) -> None:
    owner = member("owner")
    draft = risky(owner)
    User.objects.filter(pk=owner.pk).update(is_active=False)
    assert "no member of staff" in str(approve(draft, second, seen(draft).print_).problems)
    assert latest() == 1


def test_without_the_right_nobody_answers(client: Client, second: User) -> None:
    draft = risky(member("owner"))
    tag = f'"{seen(draft).print_}"'
    for role in ("viewer", "operator", "key manager"):
        user = member(role)
        for word in ("approve", "reject"):
            headers = {**bearer(user), "if-match": tag}
            said = ask(client, "POST", f"drafts/{draft.pk}/{word}", headers, {"words": "no"})
            assert said.status_code == 403
            url = page("routing_draft_change", draft.pk)
            assert browser(user).post(url, {"do": word, "seen": tag.strip('"')}).status_code == 403
    narrow = bearer(second, role=Group.objects.get(name="operator"))
    said = ask(client, "POST", f"drafts/{draft.pk}/approve", {**narrow, "if-match": tag})
    assert said.status_code == 403
    # What is approved is what was read.
    headers = bearer(second)
    assert ask(client, "POST", f"drafts/{draft.pk}/approve", headers).status_code == 428
    assert ask(client, "POST", f"drafts/{draft.pk}/approve", {**headers, "if-match": "*"}).status_code == 428
    assert (
        ask(client, "POST", f"drafts/{draft.pk}/approve", {**headers, "if-match": '"x"'}).status_code == 412
    )
    assert latest() == 1


def test_rejected_withdrawn_dropped_and_asked_twice(second: User) -> None:
    owner = member("owner")
    draft = risky(owner)
    # The same of the same person is one request.
    assert risky(owner).pk == draft.pk
    assert Draft.objects.count() == 1
    client = browser(second)
    url = page("routing_draft_change", draft.pk)
    client.post(url, {"do": "reject", "reason": " "})
    assert asked(draft) is not None
    client.post(url, {"do": "reject", "reason": "too much"})
    assert asked(draft) is None
    assert "too much" in browser(owner).get(url).content.decode()
    with pytest.raises(DraftError, match="rejected already by second"):
        approve(draft, second, seen(draft).print_)
    publish_or_ask(draft, owner, "please")
    with pytest.raises(PermissionDenied):
        withdraw(draft, member("key manager"))
    withdraw(draft, owner)
    publish_or_ask(draft, owner, "please")
    drop(draft, "owner")
    states = Approval.objects.order_by("id").values_list("state", flat=True)
    assert list(states) == ["rejected", "withdrawn", "withdrawn"]
    told = set(AuditEntry.objects.filter(object=f"approval of {draft}").values_list("action", flat=True))
    assert told == {"asked", "rejected", "withdrawn"}
    assert latest() == 1


def test_the_page_of_a_draft_is_where_it_is_approved(second: User) -> None:
    draft = risky(member("owner"))
    client, url = browser(second), page("routing_draft_change", draft.pk)
    shown = client.get(url)
    assert shown.context["answers"]
    assert "Awaits approval" in client.get(page("routing_draft_changelist")).content.decode()
    assert "is raised" in shown.content.decode()
    done = client.post(url, {"do": "approve", "seen": shown.context["sight"].print_}, follow=True)
    assert "Published as revision 2" in done.content.decode()
    assert Limit.objects.get().amount == 500


def test_what_is_edited_while_it_is_asked_for_is_not_asked_for(
    second: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the refusal to publish and the request nobody holds the draft."""
    owner, draft = member("owner"), begin("spring", "ann")
    with drafting(draft):
        Limit.objects.update(amount=500)
    print_ = seen(draft).print_

    def overtaken(*given: Any) -> int:
        try:
            return publish_draft(*given)
        finally:
            with drafting(draft):
                Limit.objects.update(amount=900)

    monkeypatch.setattr("routing.approvals.publish_draft", overtaken)
    with pytest.raises(DraftError, match="look again"):
        publish_or_ask(draft, owner, "go", print_)
    assert (Approval.objects.count(), latest()) == (0, 1)


def test_whoever_may_approve_sees_that_something_waits(second: User) -> None:
    """And nobody else does: neither who asked, nor who may not answer."""
    draft = risky(member("owner"))
    operator, link = member("operator"), f'href="{page("routing_draft_change", draft.pk)}"'
    for user, sees in ((second, True), (User.objects.get(username="owner"), False), (operator, False)):
        client = browser(user)
        home, other = (client.get(page(name)) for name in ("index", "routing_route_changelist"))
        assert ("await your approval" in home.content.decode()) is sees
        assert (link in home.content.decode()) is sees
        for shown in (home, other):
            items = [each for group in shown.context["sidebar_navigation"] for each in group["items"]]
            (badge,) = (each["badge"] for each in items if each["title"] == "Drafts")
            assert badge == int(sees)
    reject(draft, second, "no")
    assert "await your approval" not in browser(second).get(page("index")).content.decode()


def test_a_freeze_holds_an_approval_up_and_measures_need_none(second: User) -> None:
    draft = risky(member("owner"))
    print_ = seen(draft).print_
    provider = Provider.objects.get(kind="openai")
    begin_measure(Measure(kind="drain", provider=provider, reason="an incident"), 30, "ann")
    begin_measure(Measure(kind="freeze", reason="an incident"), 30, "ann")
    with pytest.raises(FrozenError):
        approve(draft, second, print_)
    assert asked(draft) is not None
    assert latest() == 3


def test_the_glass_is_broken_by_command_and_written_down(second: User) -> None:
    root = User.objects.create_superuser("root")
    draft = risky(root)
    out = StringIO()
    call_command("approval", "list", stdout=out)
    assert f"{draft.pk}  {draft}  asked by root" in out.getvalue()
    for words in (["--reason= ", "--as=root"], ["--reason=now", "--as=nobody"]):
        with pytest.raises(CommandError):
            call_command("approval", "break-glass", str(draft.pk), *words, stdout=out)
    call_command("approval", "break-glass", str(draft.pk), "--reason=pager", "--as=root", stdout=out)
    revision = Revision.objects.get(number=2)
    assert (revision.author, revision.reason, revision.approved_by) == ("root", "glass broken: pager", "")
    assert (Limit.objects.get().amount, Approval.objects.get().state) == (500, "forced")
    told = AuditEntry.objects.get(action="broke the glass")
    assert (told.author, told.via, told.changes["words"]) == ("root", "process", "pager")
    with pytest.raises(CommandError):
        call_command("approval", "break-glass", str(draft.pk), "--reason=pager", "--as=root")


def test_what_was_published_meanwhile_is_not_written_over(world: None) -> None:
    Limit.objects.update(amount=500)
    with pytest.raises(NeedsApprovalError) as stopped, transaction.atomic():
        publish("ann", "more")
    Limit.objects.update(amount=10)
    Route.objects.filter(pattern="gpt-*").update(tries=3)
    publish("olga", "meanwhile", leave=Leave())
    with pytest.raises(DraftError, match="published meanwhile"):
        keep_asked(stopped.value)
    assert not Draft.objects.exists()


def much_at_once() -> None:
    """Added, changed, deleted, and a secret."""
    with transaction.atomic():
        hold()
        Limit.objects.update(amount=500)
        replaced()
        make_route("new", make_provider("new", kind="ollama"))
        Target.objects.filter(route__pattern="gpt-*", tier=1).delete()
        publish("ann", "more")


@pytest.mark.usefixtures("database")
def test_two_who_approve_at_once_publish_once() -> None:
    furnish()
    users = [User.objects.create_superuser(name) for name in ("one", "two")]
    with pytest.raises(NeedsApprovalError) as stopped:
        much_at_once()
    print_ = keep_asked(stopped.value).print
    start = threading.Barrier(2)
    said: list[str] = []

    def go(user: User) -> None:
        try:
            start.wait(30)
            said.append(str(approve(Draft.objects.get(), user, print_).revision))
        except DraftError as error:
            said.append(str(error))
        finally:
            connections.close_all()

    both = [threading.Thread(target=go, args=(user,)) for user in users]
    for each in both:
        each.start()
    for each in both:
        each.join(60)
    done, refused = sorted(said)
    assert done == "2"
    assert "approved already by" in refused
    assert (latest(), Limit.objects.get().amount, secret(), targets()) == (2, 500, SECRET, 1)
    assert Route.objects.get(pattern="new").targets.get().provider.name == "new"


def test_a_draft_that_is_over_is_not_forced(world: None) -> None:
    draft = begin("spring", "ann")
    with drafting(draft):
        Limit.objects.update(amount=500)
    drop(draft, "ann")
    with pytest.raises(DraftError, match="dropped"):
        break_glass(draft, "root", "now")


def test_two_drafts_of_the_same_stay_two(second: User) -> None:
    owner = member("owner")
    held, drafts = risky(owner), [begin(name, "ann") for name in ("one", "two")]
    for draft in drafts:
        with drafting(draft):
            Limit.objects.update(amount=500)
        found = publish_or_ask(draft, owner, "go")
        assert isinstance(found, Approval)
        assert found.draft == draft
        # Asked again, by whomever, it is the same request.
        assert publish_or_ask(draft, User.objects.get(username="second"), "go") == found
    assert Draft.objects.filter(state="open").count() == 3
    # One of them is published, and what the others would do is done.
    assert approve(held, second, seen(held).print_).revision == 2
    again = approve(drafts[0], second, asked(drafts[0]).print)  # type: ignore[union-attr]  # one was asked for
    assert (again.revision, asked(drafts[0]), latest()) == (None, None, 2)
