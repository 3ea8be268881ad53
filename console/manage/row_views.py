"""Tables of the configuration, row by row: each has a list and its rows, read, added, changed and deleted by
the admin's own pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model, Prefetch, QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ListSerializer, ModelSerializer, SlugRelatedField

from accounts.rights import Action, may
from accounts.scope import only_team
from console.manage.access import ManageView, Refused
from console.manage.asked import IF_MATCH, REASON, check_match, number_in, page_size
from console.manage.editing import delete, page_of, save, tag_of
from providers.models import Credential
from routing.credential_use import with_use
from routing.draft_ways import gathered, open_draft
from routing.drafts import DraftError, looked_at
from routing.models import Target
from routing.revisions import hold, latest

_VERBS = {"GET": "view", "POST": "add", "PATCH": "change", "DELETE": "delete"}
_PAGING = [
    OpenApiParameter("after", int, description="The last id of the page before."),
    OpenApiParameter("limit", int, description="So many, 200 at most (100)."),
    OpenApiParameter("name", str, description="The one of this name alone, where rows have names."),
]
_WITHIN_DRAFT = OpenApiParameter(
    "draft",
    str,
    description="Within the draft of this name: rows as it would have them, and what is written goes into it "
    "and steers nothing. It is begun where there is none.",
)


# What stands on a row's page, with all that is written of it: a query a table.
_WITHIN: Mapping[str, Callable[[], Prefetch[Any]]] = {
    "credentials": lambda: Prefetch("credentials", with_use(Credential.objects.all())),
    "targets": lambda: Prefetch("targets", Target.objects.select_related("provider")),
}


class _TableView(ManageView):
    """`shape`: how a row is written. Who may is asked of the admin's page."""

    shape: ClassVar[type[ModelSerializer[Any]]]

    def permitted(self, request: Request, method: str) -> bool:
        """As on the admin's page of the table."""
        if only_team(request.user) is not None:
            return False
        return bool(getattr(page_of(self.model), f"has_{_VERBS[method]}_permission")(request._request))

    @property
    def model(self) -> type[Model]:
        """The table."""
        found: type[Model] = self.shape.Meta.model
        return found

    def rows(self) -> QuerySet[Any]:
        """All rows, by their ids. What is written of other tables comes by a query a table, not a row."""
        rows = self.model._default_manager.order_by("pk")
        related = [name for name, field in self.shape().fields.items() if isinstance(field, ListSerializer)]
        named = [name for name, field in self.shape().fields.items() if isinstance(field, SlugRelatedField)]
        within = [_WITHIN[name]() for name in related]
        return (rows.select_related(*named) if named else rows).prefetch_related(*within)

    def given(self, request: Request, row: Model | None = None) -> dict[str, Any]:
        """What is said in the body, checked for its types; a name that means nothing is a mistake."""
        if not isinstance(request.data, dict):
            raise Refused(400, "The body is a JSON object.")
        if strange := sorted(set(request.data) - set(self.shape().fields)):
            raise Refused(400, "Some of what was sent means nothing.", [str(name)[:100] for name in strange])
        shape = self.shape(row, data=request.data, partial=row is not None)
        shape.is_valid(raise_exception=True)
        return dict(shape.validated_data)

    def within(self, request: Request, do: Callable[[], Response]) -> Response:
        """Do it within the draft that is asked for, if one is: for so long the tables are as it has them."""
        title = request.query_params.get("draft")
        if title is None:
            return do()
        reads = request.method in SAFE_METHODS
        if not may(request.user, Action.READ_DRAFTS if reads else Action.EDIT_DRAFTS):
            raise PermissionDenied
        try:
            if not reads:
                draft, response = gathered(title, self.author, do)
                if response.data is not None:
                    response.data |= {"revision": None, "draft": draft.pk}
                return response
            found = open_draft(title.replace("\0", ""))
            if found is None:
                raise Http404
            with looked_at(found):
                return do()
        except DraftError as error:
            raise Refused(409, "The draft cannot take it.", error.problems) from None

    def told(self, row: Model, notes: list[str], status: int = 200) -> Response:
        """The row as it is now, and what its page would have told beside."""
        said = self.shape(self.rows().get(pk=row.pk)).data
        return Response({**said, "notes": notes, "revision": latest()}, status, headers={"ETag": tag_of(row)})


class _ListView(_TableView):
    def listed(self, request: Request) -> Response:
        """A page of rows."""
        rows = self.rows().filter(pk__gt=number_in(request, "after", 0))
        name = request.query_params.get("name")
        if name is not None and any(each.name == "name" for each in self.model._meta.fields):
            rows = rows.filter(name=name.replace("\0", ""))
        return Response(self.shape(rows[: page_size(request)], many=True).data)

    def add(self, request: Request) -> Response:
        """One more row."""
        with transaction.atomic():
            hold()
            row, notes = save(request._request, self.model, None, self.given(request))
            return self.told(row, notes, 201)


class _RowView(_TableView):
    def one(self, number: int) -> Response:
        """The row, with its ETag."""
        row = get_object_or_404(self.rows(), pk=number)
        return Response(self.shape(row).data, headers={"ETag": tag_of(row)})

    def change(self, request: Request, number: int) -> Response:
        """What is said of it changed, where nobody has changed it since it was read."""
        with transaction.atomic():
            hold()
            row = get_object_or_404(self.rows(), pk=number)
            check_match(request, tag_of(row))
            _, notes = save(request._request, self.model, row, self.given(request, row))
            return self.told(row, notes)

    def delete_it(self, request: Request, number: int) -> Response:
        """It is there no more."""
        with transaction.atomic():
            hold()
            row = get_object_or_404(self.rows(), pk=number)
            check_match(request, tag_of(row))
            delete(request._request, row)
        return Response(status=204)


def views_of(name: str, rows: type[ModelSerializer[Any]]) -> tuple[Any, Any]:
    """The view of a table's list and of one of its rows; `name`: as in the address."""

    class List(_ListView):
        shape = rows

        @extend_schema(
            operation_id=f"{name}_list",
            tags=[name],
            parameters=[*_PAGING, _WITHIN_DRAFT],
            responses=rows(many=True),
        )
        def get(self, request: Request) -> Response:
            """A page of rows by their ids."""
            return self.within(request, lambda: self.listed(request))

        @extend_schema(
            operation_id=f"{name}_add",
            tags=[name],
            parameters=[REASON, _WITHIN_DRAFT],
            request=rows,
            responses={201: rows},
        )
        def post(self, request: Request) -> Response:
            """Add a row, as the admin's form does. `notes` in the answer: what is not well about it."""
            return self.within(request, lambda: self.add(request))

    class Row(_RowView):
        shape = rows

        @extend_schema(operation_id=f"{name}_read", tags=[name], parameters=[_WITHIN_DRAFT], responses=rows)
        def get(self, request: Request, number: int) -> Response:
            """One row, with an ETag."""
            return self.within(request, lambda: self.one(number))

        @extend_schema(
            operation_id=f"{name}_change",
            tags=[name],
            parameters=[IF_MATCH, REASON, _WITHIN_DRAFT],
            request=rows,
            responses=rows,
        )
        def patch(self, request: Request, number: int) -> Response:
            """Change what is said and nothing else. 412 when somebody has changed it since it was read. A
            list of rows within, such as targets, is said whole: one keeps its `id`, one that is not said
            goes."""
            return self.within(request, lambda: self.change(request, number))

        @extend_schema(
            operation_id=f"{name}_delete",
            tags=[name],
            parameters=[IF_MATCH, REASON, _WITHIN_DRAFT],
            request=None,
            responses={204: None},
        )
        def delete(self, request: Request, number: int) -> Response:
            """Delete it. 409 where something else needs it."""
            return self.within(request, lambda: self.delete_it(request, number))

    return List, Row
