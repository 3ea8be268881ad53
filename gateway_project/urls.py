"""All addresses: the admin, the metrics, and the API for where its lean door is not mounted."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from console.drill_page import drill_page
from console.explain_page import explain_json, explain_page
from console.live_page import live_end, live_measure, live_page
from console.playground import playground_end, playground_key, playground_page, playground_request
from routing.admin_lint import lint_page

# Here and not when the apps are loaded: whoever serves no page holds none.
admin.autodiscover()

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/explain/", admin.site.admin_view(explain_page), name="explain"),
    path("admin/explain.json", explain_json, name="explain_json"),
    path("admin/lint/", admin.site.admin_view(lint_page), name="lint"),
    path("admin/rehearse/", admin.site.admin_view(drill_page), name="drill"),
    path("admin/live/", admin.site.admin_view(live_page), name="live"),
    path("admin/live/measure", admin.site.admin_view(live_measure), name="live_measure"),
    path("admin/live/end", admin.site.admin_view(live_end), name="live_end"),
    path("admin/playground/", admin.site.admin_view(playground_page), name="playground"),
    path("admin/playground/key", admin.site.admin_view(playground_key), name="playground_key"),
    path("admin/playground/end", admin.site.admin_view(playground_end), name="playground_end"),
    path("admin/playground/request", admin.site.admin_view(playground_request), name="playground_request"),
    path("admin/", include("console.oidc.urls")),
    path("admin/", admin.site.urls),
    path("manage/v1/", include("console.manage.urls")),
    path("", include("gateway_project.scrape_urls")),
    path("", include("apiv1.urls")),
]
