"""The address of the metrics alone: who reads them every few seconds loads no page of the admin."""

from __future__ import annotations

from django.urls import path

from gateway_project.scrape import ADDRESS, metrics

urlpatterns = [path(ADDRESS[1:], metrics)]
