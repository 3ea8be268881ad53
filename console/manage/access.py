"""Who may use the management API, and how it says no."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import ProtectedError
from django.http import Http404
from rest_framework import exceptions, status
from rest_framework.authentication import BaseAuthentication, SessionAuthentication, get_authorization_header
from rest_framework.parsers import BaseParser
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import UserRateThrottle
from rest_framework.views import APIView

from accounts.acting import acting
from accounts.apps import hasher
from accounts.narrowed import standing_for
from accounts.rights import Action, may
from accounts.scope import only_team
from accounts.tokens import find_token
from dialects.errors import GatewayError
from dialects.parse import parse_json
from routing.approval_gate import NeedsApprovalError
from routing.approvals import keep_asked, words_of_asked
from routing.drafts import DraftError
from routing.freeze import FrozenError
from routing.models_approvals import Approval

PROBLEM = "application/problem+json"
# As a form of the admin may have.
MOST_BYTES = 5 << 20


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer gwm-...`. A gateway key is nobody here."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        words = get_authorization_header(request).split()
        if not words or words[0].lower() != b"bearer":
            return None
        found = find_token(words[1].decode("latin-1"), hasher()) if len(words) == 2 else None
        if found is None:
            raise exceptions.AuthenticationFailed("This is no management token that is in use.")
        now = acting()
        if now is not None:
            now.token = found.prefix
        return standing_for(found), found

    def authenticate_header(self, _request: Request) -> str:
        return "Bearer"


class StaffSession(SessionAuthentication):
    """The admin's own session, with its CSRF token for whatever changes something."""


class Refused(exceptions.APIException):
    """A refusal with a status of its own. `problems`: one line each."""

    def __init__(self, code: int, detail: str, problems: list[str] | None = None) -> None:
        super().__init__(detail)
        self.status_code = code
        self.problems = problems


class MayDo(BasePermission):
    """Staff who may do what the view names for the method. What a view does not name nobody may."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        user: Any = request.user
        if user is None or not user.is_active or not user.is_staff:
            return False
        if not isinstance(view, ManageView):
            # The document is for all staff: it names addresses, and nothing that is configured.
            return True
        method = "GET" if request.method in ("HEAD", "OPTIONS") else str(request.method)
        # Where there is no such method whoever asks is told so.
        return not hasattr(view, method.lower()) or view.permitted(request, method)


class Pace(UserRateThrottle):
    """Enough for any script, too little to keep a process from its calls."""

    rate = "600/min"


class StrictJson(BaseParser):
    """The one strict parser of every surface: an object, and nothing that a database cannot keep."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:  # noqa: ARG002 - DRF's
        """The object. Raises ParseError, or Refused for what is too long."""
        body = stream.read(MOST_BYTES + 1)
        if len(body) > MOST_BYTES:
            raise Refused(413, f"The body has more than {MOST_BYTES >> 20} MiB.")
        try:
            return parse_json(body)
        except GatewayError as error:
            raise exceptions.ParseError(str(error)) from None


class ManageView(APIView):
    """Base of every address. `needs`: what somebody does by each method."""

    authentication_classes = (TokenAuthentication, StaffSession)
    permission_classes = (MayDo,)
    parser_classes = (StrictJson,)
    throttle_classes = (Pace,)
    # Whether it shows and changes nothing but the team's to a token that is one team's.
    scoped: ClassVar[bool] = False
    needs: ClassVar[Mapping[str, Action]] = MappingProxyType({})

    def permitted(self, request: Request, method: str) -> bool:
        """Whether whoever asks may do this. What is not named nobody may."""
        if not self.scoped and only_team(request.user) is not None:
            return False
        return method in self.needs and may(request.user, self.needs[method])

    def get_exception_handler(self) -> Any:
        return problem

    def handle_exception(self, exc: Exception) -> Response:
        """A change that takes somebody else is kept; all else is answered as it comes."""
        if isinstance(exc, NeedsApprovalError):
            try:
                return _kept(exc)
            except DraftError as error:
                exc = Refused(409, "It needs somebody else's approval, and was not kept.", error.problems)
        answer: Response = super().handle_exception(exc)
        return answer

    @property
    def author(self) -> str:
        """Who changes something, as revisions name it."""
        user: Any = self.request.user
        name: str = user.get_username()
        return name

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        # What is configured is nobody's in between to keep.
        response.headers.setdefault("Cache-Control", "no-store")
        return super().finalize_response(request, response, *args, **kwargs)


def _kept(error: NeedsApprovalError) -> Response:
    """202: where it is kept. A key that would have been shown is shown, now or never."""
    said = awaiting(keep_asked(error))
    if error.shown is not None:
        row = error.shown.row
        said |= {"prefix": row.prefix, "key": error.shown.key}
    return Response(said, status.HTTP_202_ACCEPTED)


def awaiting(approval: Approval) -> dict[str, Any]:
    """What whoever asked is told."""
    return {
        "detail": words_of_asked(approval),
        "draft": approval.draft_id,
        "risks": approval.risks,
        "revision": None,
    }


_View = TypeVar("_View", bound=type[ManageView])


def needs(**actions: Action) -> Callable[[_View], _View]:
    """What somebody does by each method of a view."""

    def named(view: _View) -> _View:
        view.needs = actions
        return view

    return named


def problem(error: Exception, _context: dict[str, Any]) -> Response | None:
    """An exception as problem details (RFC 9457). None: it is a fault, and Django's to answer."""
    code, said, errors = _read(error)
    if code is None:
        return None
    headers = {}
    wait = getattr(error, "wait", None)
    if wait is not None:
        headers["Retry-After"] = str(int(wait) + 1)
    if isinstance(error, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        headers["WWW-Authenticate"] = "Bearer"
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": _TITLES.get(code, "Error"),
        "status": code,
        "detail": said,
    }
    if errors:
        body["errors"] = errors
    return Response(body, code, headers=headers, content_type=PROBLEM)


def _read(error: Exception) -> tuple[int | None, str, Any]:
    if isinstance(error, Refused):
        return error.status_code, str(error.detail), error.problems
    if isinstance(error, exceptions.ValidationError):
        return 400, "Some of what was sent cannot be.", error.detail
    if isinstance(error, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        return 401, str(error.detail), None
    if isinstance(error, exceptions.APIException):
        return error.status_code, str(error.detail), None
    if isinstance(error, Http404):
        return 404, "There is nothing of this name or number.", None
    if isinstance(error, ValidationError):
        fields = error.message_dict if hasattr(error, "error_dict") else {"": error.messages}
        return 400, "Some of what was sent cannot be.", fields
    if isinstance(error, FrozenError):
        return status.HTTP_423_LOCKED, str(error), None
    if isinstance(error, PermissionDenied):
        return 403, "You may not do this.", None
    if isinstance(error, ProtectedError):
        return 409, "Something else needs it.", None
    return None, "", None


_TITLES = {
    status.HTTP_400_BAD_REQUEST: "Bad request",
    status.HTTP_401_UNAUTHORIZED: "Not authenticated",
    status.HTTP_403_FORBIDDEN: "Not permitted",
    status.HTTP_404_NOT_FOUND: "Not found",
    status.HTTP_405_METHOD_NOT_ALLOWED: "Method not allowed",
    status.HTTP_409_CONFLICT: "Conflict",
    status.HTTP_413_REQUEST_ENTITY_TOO_LARGE: "Body too long",
    status.HTTP_412_PRECONDITION_FAILED: "Precondition failed",
    status.HTTP_415_UNSUPPORTED_MEDIA_TYPE: "Unsupported media type",
    status.HTTP_423_LOCKED: "Locked",
    status.HTTP_428_PRECONDITION_REQUIRED: "Precondition required",
    status.HTTP_429_TOO_MANY_REQUESTS: "Too many requests",
}
