"""The management API's addresses, its document, and the page that shows it."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.views.decorators import staff_member_required
from django.urls import path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView

from console.manage import (
    capture_views,
    config_views,
    draft_views,
    key_views,
    log_views,
    measure_views,
    sight_views,
    trial_views,
)
from console.manage.access import StaffSession, TokenAuthentication
from console.manage.row_shapes import Budgets, Limits, Prices, Providers, Routes, Teams
from console.manage.row_views import views_of

_WHO = [TokenAuthentication, StaffSession]

_TABLES: dict[str, Any] = {
    "providers": Providers,
    "routes": Routes,
    "teams": Teams,
    "limits": Limits,
    "budgets": Budgets,
    "prices": Prices,
}

urlpatterns = [
    path("config", config_views.ConfigView.as_view()),
    path("config/plan", config_views.PlanView.as_view()),
    path("drafts", draft_views.DraftsView.as_view()),
    path("drafts/<int:number>", draft_views.DraftView.as_view()),
    path("drafts/<int:number>/publish", draft_views.DraftPublishView.as_view()),
    path("drafts/<int:number>/decide", draft_views.DraftDecideView.as_view()),
    path("drafts/<int:number>/drop", draft_views.DraftDropView.as_view()),
    path("drafts/<int:number>/approve", draft_views.DraftApproveView.as_view()),
    path("drafts/<int:number>/reject", draft_views.DraftRejectView.as_view()),
    path("drafts/<int:number>/withdraw", draft_views.DraftWithdrawView.as_view()),
    path("revisions", config_views.RevisionsView.as_view()),
    path("revisions/<int:number>", config_views.RevisionView.as_view()),
    path("revisions/<int:number>/undo", config_views.UndoView.as_view()),
    path("revisions/<int:number>/restore", config_views.RestoreView.as_view()),
    *(
        path(f"{name}{where}", view.as_view())
        for name, shape in _TABLES.items()
        for where, view in zip(("", "/<int:number>"), views_of(name, shape), strict=True)
    ),
    path("providers/<int:number>/test", trial_views.TestView.as_view()),
    path("rehearse", trial_views.RehearseView.as_view()),
    path("keys", key_views.KeysView.as_view()),
    path("keys/<int:number>", key_views.KeyView.as_view()),
    path("keys/<int:number>/revoke", key_views.RevokeView.as_view()),
    path("keys/<int:number>/rotate", key_views.RotateView.as_view()),
    path("lint", sight_views.LintView.as_view()),
    path("explain", sight_views.ExplainView.as_view()),
    path("usage", sight_views.UsageView.as_view()),
    path("usage.csv", log_views.UsageSheetView.as_view()),
    path("requests", log_views.RequestsView.as_view()),
    path("requests/<str:request_id>", log_views.RequestView.as_view()),
    path("audit", log_views.AuditView.as_view()),
    path("breakers", log_views.BreakersView.as_view()),
    path("captures/<str:request_id>", capture_views.CaptureView.as_view()),
    path("teams/<int:number>/forget-captures", capture_views.ForgetView.as_view()),
    path("measures", measure_views.MeasuresView.as_view()),
    path("measures/<int:number>/end", measure_views.MeasureEndView.as_view()),
    path("cache", log_views.CacheView.as_view()),
    path("cache/purge", sight_views.PurgeView.as_view()),
    path("openapi.json", SpectacularJSONAPIView.as_view(authentication_classes=_WHO), name="manage_openapi"),
    path(
        "docs",
        staff_member_required(
            SpectacularSwaggerSplitView.as_view(
                url_name="manage_openapi", authentication_classes=[StaffSession]
            )
        ),
        name="manage_docs",
    ),
]
