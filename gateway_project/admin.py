"""The admin's own users, groups and attempts to log in, in the theme's looks."""

from __future__ import annotations

from typing import Any

from axes import admin as axes_admin
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from accounts.admin_base import BoundedLookups
from accounts.models import Identity, TeamMember

admin.site.index_title = "Overview"
for _each in (User, Group, AccessAttempt, AccessFailureLog, AccessLog):
    admin.site.unregister(_each)


class TeamMemberInline(TabularInline):
    """The teams of a user who does not see every team's requests and usage."""

    model = TeamMember
    autocomplete_fields = ("team",)
    extra = 0
    # Each row's field asks for the name of its choice.
    per_page = 30

    def get_queryset(self, request: HttpRequest) -> Any:
        """With what each row is called by."""
        return super().get_queryset(request).select_related("user", "team")


class IdentityInline(TabularInline):
    """Who at the identity provider this user is. Whoever is named here is let in as this user."""

    model = Identity
    fields = ("issuer", "subject")
    extra = 0


@admin.register(User)
class UserAdmin(DjangoUserAdmin, BoundedLookups):
    """Django's page, with the theme's forms."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    inlines = (TeamMemberInline, IdentityInline)

    def get_inlines(self, request: HttpRequest, obj: User | None) -> Any:
        """A user is added with a name and a password alone."""
        return self.inlines if obj is not None else ()


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, BoundedLookups):
    """Django's page as it is: a group is a set of permissions."""


@admin.register(AccessAttempt)
class AccessAttemptAdmin(axes_admin.AccessAttemptAdmin, BoundedLookups):  # type: ignore[misc]  # it has no types
    """Passwords that were guessed wrong, and who is shut out."""

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """The library's own action deletes, and is offered to whoever may look."""
        offered: dict[str, Any] = super().get_actions(request)
        return offered if self.has_delete_permission(request) else {}


@admin.register(AccessFailureLog)
class AccessFailureLogAdmin(axes_admin.AccessFailureLogAdmin, BoundedLookups):  # type: ignore[misc]  # as above
    """Every failure to log in."""


@admin.register(AccessLog)
class AccessLogAdmin(axes_admin.AccessLogAdmin, BoundedLookups):  # type: ignore[misc]  # as above
    """Who logged in and out."""
