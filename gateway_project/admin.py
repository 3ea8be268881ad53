"""The admin's own users and groups, in the theme's looks."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from accounts.models import TeamMember

admin.site.index_title = "Overview"
admin.site.unregister(User)
admin.site.unregister(Group)


class TeamMemberInline(TabularInline):
    """The teams of a user who does not see every team's requests and usage."""

    model = TeamMember
    autocomplete_fields = ("team",)
    extra = 0


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):
    """Django's page, with the theme's forms."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    inlines = (TeamMemberInline,)

    def get_inlines(self, request: HttpRequest, obj: User | None) -> Any:
        """A user is added with a name and a password alone."""
        return self.inlines if obj is not None else ()


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):
    """Django's page as it is: a group is a set of permissions."""
