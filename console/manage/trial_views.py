"""What is tried out: a provider asked with its credentials, and a failure rehearsed."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.rights import Action
from console.asking import AskingError, configured
from console.drill import FAULTS, MOST_CALLS, DrillError, Plan, drill
from console.manage.access import ManageView, Refused, needs
from providers.apps import vault
from providers.models import Provider
from providers.trial import TEST_PAUSE, take_turn, try_provider


class Trials(serializers.Serializer[Any]):
    """What came of one try. `credential`: its label and last four characters, "" where none was used."""

    credential = serializers.CharField()
    ok = serializers.BooleanField()
    words = serializers.CharField()


class Rehearsal(serializers.Serializer[Any]):
    """A failure to rehearse: `calls` requests for `model`, `apart` seconds from each other, while `provider`
    has `fault`. `key`: its prefix or id; without, the common routes."""

    model = serializers.CharField(max_length=256)
    provider = serializers.CharField(max_length=100)
    fault = serializers.ChoiceField(list(FAULTS))
    key = serializers.CharField(required=False, default="", max_length=512, allow_blank=True)
    calls = serializers.IntegerField(required=False, default=20, min_value=1, max_value=MOST_CALLS)
    apart = serializers.FloatField(required=False, default=1.0, min_value=0)


@needs(POST=Action.TEST_PROVIDER)
class TestView(ManageView):
    """A provider tried."""

    @extend_schema(operation_id="providers_test", request=None, responses=Trials(many=True))
    def post(self, _request: Request, number: int) -> Response:
        """Ask a path that costs nothing, once with each enabled credential, as saved; 15 seconds at most. 429
        where it has just been tested."""
        provider = get_object_or_404(Provider, pk=number)
        if not take_turn(provider):
            raise Refused(429, f"It has just been tested: wait {TEST_PAUSE} seconds.")
        said = try_provider(provider, vault())
        return Response(
            [
                {"credential": each.credential, "ok": each.verdict.ok, "words": each.verdict.words}
                for each in said
            ]
        )


@needs(POST=Action.EXPLAIN)
class RehearseView(ManageView):
    """A failure rehearsed."""

    @extend_schema(operation_id="rehearse", request=Rehearsal, responses={200: {"type": "object"}})
    def post(self, request: Request) -> Response:
        """Who would serve, what clients would get, when breakers open: by the code that routes, against
        stand-ins. Nothing is sent to any provider."""
        given = Rehearsal(data=request.data)
        given.is_valid(raise_exception=True)
        said = dict(given.validated_data)
        try:
            snapshot, key = configured(said.pop("key"), vault())
            report = asyncio.run(drill(snapshot, Plan(**said, key=key)))
        except (AskingError, DrillError) as error:
            raise Refused(400, str(error)) from None
        return Response(msgspec.to_builtins(report))
