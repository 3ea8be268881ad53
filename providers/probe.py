"""Asking a provider's cheapest path, to say in plain words whether it can be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from providers.kinds import Kind
from providers.wire import Reason, Transport, UpstreamError, UpstreamRequest

# A person is waiting: a list of models takes a second, not minutes.
_PATIENCE = 15.0
# Nothing of the answer is read but that it comes; a list of models has a few hundred kilobytes.
_LIMIT = 8 * 1024 * 1024

_FAILURES: Mapping[Reason, str] = {
    "refused": "nothing listens at this address",
    "dns": "the host name does not resolve",
    "tls": "the TLS handshake failed: the certificate is not valid for this host, or not trusted",
    "forbidden": "the address is private or a metadata service, and the provider does not allow that",
    "connect_timeout": "no connection within the connect timeout",
    "first_byte_timeout": f"connected, but no answer within {_PATIENCE:g} seconds",
    "idle_timeout": "the answer began and then stopped",
    "reset": "the connection was closed before the answer was complete",
    "truncated": "the answer ended too early",
    "too_large": "the answer is too large",
    "invalid": "the answer is not HTTP: perhaps the port or the scheme is wrong",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """What is asked: a provider by its parts, with at most one secret."""

    kind: Kind
    base_url: str
    connect: float
    allow_private: bool = False
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it can be used, and one sentence for people; never a word of the provider's answer."""

    ok: bool
    words: str


async def probe(subject: Subject, transport: Transport) -> Verdict:
    """Ask once. Never raises for what the other side does."""
    if subject.kind.transport != "http":
        return Verdict(ok=True, words="answers by itself; nothing to reach")
    if subject.kind.needs_credential and subject.secret is None:
        return Verdict(ok=False, words="has no enabled credential that can be read: enter one")
    try:
        status = await _ask(subject, transport)
    except UpstreamError as error:
        return Verdict(ok=False, words=_FAILURES[error.reason])
    return _judge(status, subject)


async def _ask(subject: Subject, transport: Transport) -> int:
    headers = {"accept": "application/json", "accept-encoding": "identity", **subject.kind.headers}
    if subject.secret is not None and subject.kind.auth == "bearer":
        headers["authorization"] = "Bearer " + subject.secret
    elif subject.secret is not None and subject.kind.auth != "none":
        headers[subject.kind.auth] = subject.secret
    response = await transport.send(
        UpstreamRequest(
            method="GET",
            url=subject.base_url + subject.kind.probe,
            headers=headers,
            body=b"",
            connect=min(subject.connect, _PATIENCE),
            first_byte=_PATIENCE,
            idle=_PATIENCE,
            allow_private=subject.allow_private,
        )
    )
    try:
        await response.read(_LIMIT)
        return response.status
    finally:
        await response.aclose()


def _judge(status: int, subject: Subject) -> Verdict:
    if status == 200:
        return Verdict(
            ok=True, words="reachable" + (", and the credential is accepted" if subject.secret else "")
        )
    if status in (401, 403):
        what = "the credential is refused" if subject.secret else "it wants a credential"
        return Verdict(ok=False, words=f"reachable, but {what} (status {status})")
    if status == 404:
        return Verdict(
            ok=False, words="reachable, but the path is unknown there (status 404): check the base URL"
        )
    if status == 429:
        return Verdict(ok=False, words="reachable, but it limits us at the moment (status 429)")
    if 300 <= status < 400:
        return Verdict(ok=False, words=f"answers with a redirect (status {status}), which is never followed")
    return Verdict(ok=False, words=f"reachable, but it answers with status {status}")
