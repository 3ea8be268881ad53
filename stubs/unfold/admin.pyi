"""Of the admin's theme, which has no types: what this project uses."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin

class ModelAdmin(admin.ModelAdmin[Any]):
    warn_unsaved_form: bool
    compressed_fields: bool
    list_filter_submit: bool
    actions_detail: Sequence[str]
    actions_row: Sequence[str]

class TabularInline(admin.TabularInline[Any, Any]):
    hide_title: bool
