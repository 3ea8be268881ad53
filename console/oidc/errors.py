"""Why nobody was signed in: a short reason for the audit log, words for the page, and a status. No secret and
nothing that a stranger wrote is in either."""

from __future__ import annotations


class SignInError(Exception):
    """Signing in failed. `suspicious`: it counts as a wrong password does."""

    status = 400
    suspicious = True
    words = "This sign-in cannot be completed. Begin anew."

    def __init__(self, reason: str, words: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        if words is not None:
            self.words = words


class RefusedError(SignInError):
    """The identity provider knows somebody whom this gateway does not let in."""

    status = 403
    suspicious = False


class UnavailableError(SignInError):
    """The identity provider is down, or says what none should."""

    status = 503
    suspicious = False
    words = "The identity provider cannot be reached or does not answer as it should. Try again in a moment."
