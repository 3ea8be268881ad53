"""Measures of an incident: those that hold and held, begun and ended."""

from __future__ import annotations

from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.rights import Action
from console.manage.access import ManageView, Refused, needs
from console.manage.asked import page_size
from routing.measures import MOST_MINUTES, begin, end, provider_named
from routing.models import Measure
from routing.models_measures import MEASURES


class Measures(serializers.ModelSerializer[Measure]):
    """A measure. `ended` null: it holds until `until`."""

    provider = serializers.CharField(source="provider.name", allow_null=True, default=None)

    class Meta:
        model = Measure
        fields = ("id", "kind", "provider", "reason", "author", "started", "until", "ended", "ended_by")


class NewMeasure(serializers.Serializer[Any]):
    """What is to hold, and for how long."""

    kind = serializers.ChoiceField([name for name, _ in MEASURES])
    provider = serializers.CharField(
        max_length=100, required=False, default="", allow_blank=True, help_text="Of a drain, by its name."
    )
    minutes = serializers.IntegerField(min_value=1, max_value=MOST_MINUTES)
    reason = serializers.CharField(max_length=300)


@needs(GET=Action.READ_MEASURES, POST=Action.TAKE_MEASURES)
class MeasuresView(ManageView):
    """What operators did at once, for a time."""

    @extend_schema(operation_id="measures_list", responses=Measures(many=True))
    def get(self, request: Request) -> Response:
        """The newest first."""
        rows = Measure.objects.select_related("provider")[: page_size(request)]
        return Response(Measures(rows, many=True).data)

    @extend_schema(operation_id="measures_begin", request=NewMeasure, responses={201: Measures})
    def post(self, request: Request) -> Response:
        """Drain a provider, shed low priority or freeze edits: on every replica within a second, and over by
        itself. One that does the same already ends."""
        given = NewMeasure(data=request.data)
        given.is_valid(raise_exception=True)
        said = given.validated_data
        provider = provider_named(said["provider"]) if said["provider"] else None
        if said["provider"] and provider is None:
            raise Refused(400, "No provider is named so.")
        measure = Measure(kind=said["kind"], provider=provider, reason=said["reason"])
        return Response(Measures(begin(measure, said["minutes"], self.author)).data, 201)


@needs(POST=Action.TAKE_MEASURES)
class MeasureEndView(ManageView):
    """The end of a measure before its time."""

    @extend_schema(operation_id="measures_end", request=None, responses=Measures)
    def post(self, _request: Request, number: int) -> Response:
        """It holds no longer. One that has ended stays as it is."""
        measure = get_object_or_404(Measure, pk=number)
        end(measure, self.author)
        return Response(Measures(measure).data)
