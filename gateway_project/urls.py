"""All addresses: the admin, the metrics, and the API for where its lean door is not mounted."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from gateway_project.scrape import metrics

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("metrics", metrics),
    path("", include("apiv1.urls")),
]
