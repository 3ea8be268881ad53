"""An identity provider on a real socket, that speaks OpenID Connect's code flow by code of its own, and lies
where it is told to.

    idp.person = {"sub": "1", "groups": ["crew"]}   # who signs in, as claims
    idp.claims = {"aud": "other"}                   # what its tokens say besides; None takes a claim away
    idp.sign = lambda idp, claims: ...              # another way to make a token
    idp.faults["/jwks"] = "slow"                    # or huge, odd, down, moved
    idp.rotate()
    idp.lenient = True                              # a code is good more than once
    idp.asks = True                                 # a browser sees a page of it, with a link to go on
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.support.tls import server_context

CLIENT, SECRET = "gateway", "a client's secret: +/%"
_LARGE = 512 * 1024
# Two of them, for a rotation; making one takes long.
_KEYS = [rsa.generate_private_key(65537, 2048) for _ in range(2)]


def b64(data: bytes) -> str:
    """As JOSE writes bytes."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def joined(header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    """The part of a token that is signed."""
    return ".".join(b64(json.dumps(part).encode()) for part in (header, claims))


class FakeIdp:
    """`asked`: how often each path was. `seen`: what a browser and the client last came with."""

    def __init__(self) -> None:
        self.port = 0
        self.scheme = "http"
        self.host = "127.0.0.1"
        self.asks = False
        self.lenient = False
        self.person: dict[str, Any] = {"sub": "1", "preferred_username": "alice", "groups": ["crew"]}
        self.claims: dict[str, Any] = {}
        self.document: dict[str, Any] = {}
        self.answer: dict[str, str] = {}
        self.sign: Callable[[FakeIdp, dict[str, Any]], str] = FakeIdp.signed
        self.faults: dict[str, str] = {}
        self.asked: Counter[str] = Counter()
        self.seen: dict[str, dict[str, str]] = {}
        self.number = 0
        self._codes: dict[str, dict[str, str]] = {}

    @property
    def issuer(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def kid(self) -> str:
        return f"key-{self.number}"

    @property
    def key(self) -> rsa.RSAPrivateKey:
        return _KEYS[self.number % 2]

    def rotate(self) -> None:
        """Another key, under another id, and the old one is not published any more."""
        self.number += 1

    def public_pem(self) -> bytes:
        """What a confused checker would take for a shared secret."""
        return self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def signed(self, claims: dict[str, Any]) -> str:
        """A token as it should be."""
        text = joined({"alg": "RS256", "typ": "JWT", "kid": self.kid}, claims)
        return f"{text}.{b64(self.key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def token(self, nonce: str) -> str:
        """The token of who signs in."""
        now = int(time.time())
        usual = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": nonce}
        claims = {**usual, **self.person, **self.claims}
        return self.sign(self, {name: value for name, value in claims.items() if value is not None})

    def page(self, method: str, path: str, given: dict[str, str], authorization: str) -> Any:
        """A status and a JSON body; or an address to send the browser to."""
        self.seen[path] = given
        if path == "/.well-known/openid-configuration":
            return 200, {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/jwks",
                **self.document,
            }
        if path == "/jwks":
            numbers = self.key.public_key().public_numbers()
            n, e = (
                b64(value.to_bytes((value.bit_length() + 7) // 8, "big")) for value in (numbers.n, numbers.e)
            )
            odd = [{"kty": "oct", "k": "c2VjcmV0", "kid": self.kid}, {"kty": "AKP"}, "none"]
            return 200, {"keys": [*odd, {"kty": "RSA", "use": "sig", "kid": self.kid, "n": n, "e": e}]}
        if path == "/authorize":
            code = secrets.token_urlsafe(8)
            self._codes[code] = given
            back = {"code": code, "state": given["state"], **self.answer}
            return f"{given['redirect_uri']}?{urlencode(back)}"
        if path == "/logout":
            known = given.get("client_id") == CLIENT and "id_token_hint" in given
            return given["post_logout_redirect_uri"] if known else (400, {})
        if path == "/token" and method == "POST":
            return self._redeemed(given, authorization)
        return 404, {}

    def _redeemed(self, given: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        words = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        if tuple(map(unquote_plus, words.split(":"))) != (CLIENT, SECRET):
            return 401, {"error": "invalid_client"}
        take = self._codes.get if self.lenient else self._codes.pop
        asked = take(given.get("code", ""), None)
        challenge = b64(hashlib.sha256(given.get("code_verifier", "").encode()).digest())
        if (
            asked is None
            or asked["code_challenge_method"] != "S256"
            or not hmac.compare_digest(challenge, asked["code_challenge"])
            or asked["redirect_uri"] != given["redirect_uri"]
        ):
            return 400, {"error": "invalid_grant"}
        return 200, {"access_token": "unused", "token_type": "Bearer", "id_token": self.token(asked["nonce"])}


class _Handler(BaseHTTPRequestHandler):
    idp: FakeIdp

    def do_GET(self) -> None:
        self._answer(parse_qs(urlsplit(self.path).query))

    def do_POST(self) -> None:
        self._answer(parse_qs(self.rfile.read(int(self.headers["content-length"])).decode()))

    def _answer(self, given: dict[str, list[str]]) -> None:
        path = urlsplit(self.path).path
        self.idp.asked[path] += 1
        fault = self.idp.faults.get(path)
        if fault is not None:
            self._fail(fault)
            return
        flat = {name: values[0] for name, values in given.items()}
        found = self.idp.page(self.command, path, flat, self.headers.get("authorization", ""))
        if isinstance(found, str) and self.idp.asks:
            self._send(200, f'<a href="{html.escape(found)}">Continue</a>'.encode(), kind="text/html")
        elif isinstance(found, str):
            self._send(302, b"", found)
        else:
            self._send(found[0], json.dumps(found[1]).encode())

    def _fail(self, fault: str) -> None:
        if fault == "slow":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            for _ in range(100):
                self.wfile.write(b"x-drip: 1\r\n")
                time.sleep(0.2)
        elif fault == "huge":
            self._send(200, b'{"issuer": "' + b"a" * _LARGE + b'"}')
        elif fault == "odd":
            self._send(200, b"[" * 50_000)
        elif fault == "moved":
            self._send(302, b"", self.idp.issuer + "/elsewhere")
        else:
            self._send(503, b"{}")

    def _send(self, status: int, body: bytes, location: str = "", kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        if location:
            self.send_header("location", location)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing is said."""


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Whoever has hung up is meant to."""


@contextmanager
def a_fake_idp(certified: Path | None = None) -> Iterator[FakeIdp]:
    """One that listens. `certified`: a folder for a certificate that nobody trusts, and it speaks TLS."""
    idp = FakeIdp()
    server = _Quiet(("127.0.0.1", 0), type("Handler", (_Handler,), {"idp": idp}))
    if certified is not None:
        context, _ = server_context(certified)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        idp.scheme = "https"
    idp.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield idp
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
