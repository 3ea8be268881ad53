"""What a login takes back of the failures before it: the user's own, and nobody else's."""

from __future__ import annotations

from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from axes.helpers import get_client_username
from axes.models import AccessAttempt
from django.http import HttpRequest


class LoginGuard(AxesDatabaseHandler):  # type: ignore[misc]  # it has no types
    """The library's counts of failures, by user and by address."""

    def reset_user_attempts(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """The library forgets all that came from the address, too: whoever can log in as himself could guess
        another's password for ever, nine times and a login in turns."""
        name = get_client_username(request, credentials)
        count, _ = AccessAttempt.objects.filter(username=name).delete()
        return int(count)
