"""What the environment says of single sign-on."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.oidc.settings import OidcSettings
from gateway_project.env import PREFIX, SettingsError, load
from gateway_project.tests.test_settings import run

NEEDED = {
    "OIDC_ISSUER": "https://id.example.com/",
    "OIDC_CLIENT_ID": "gateway",
    "OIDC_ROLES": "cn=heads,dc=example=owner; crew=viewer;crew=operator;",
    "PUBLIC_URL": "https://gateway.example.com",
}


def read(folder: Path, **values: str) -> OidcSettings | None:
    return load({PREFIX + name: value for name, value in values.items()}, folder).oidc


def test_without_a_word_there_is_none(tmp_path: Path) -> None:
    assert read(tmp_path, PUBLIC_URL="https://gateway.example.com") is None


def test_what_is_needed_and_what_is_said_for_the_rest(tmp_path: Path) -> None:
    found = read(tmp_path, **NEEDED)
    assert found == OidcSettings(
        issuer="https://id.example.com/",
        client_id="gateway",
        secret=None,
        public_url="https://gateway.example.com",
        label="single sign-on",
        scopes="openid profile email",
        groups_claim="groups",
        roles={"cn=heads,dc=example": frozenset({"owner"}), "crew": frozenset({"viewer", "operator"})},
        only=False,
        logout=False,
    )


def test_everything_said(tmp_path: Path) -> None:
    more = {"LABEL": "Example", "CLIENT_SECRET": "hunter2", "SCOPES": "openid roles", "GROUPS_CLAIM": "roles"}
    found = read(
        tmp_path, **NEEDED, OIDC_ONLY="true", **{f"OIDC_{name}": text for name, text in more.items()}
    )
    assert found is not None
    assert (found.label, found.secret, found.scopes, found.groups_claim, found.only) == (
        "Example", "hunter2", "openid roles", "roles", True,
    )  # fmt: skip
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("OIDC_ISSUER", ""),
        ("OIDC_ISSUER", "http://id.example.com"),
        ("OIDC_ISSUER", "https://id.example.com?x=1"),
        ("OIDC_ISSUER", "https://user:word@id.example.com"),
        ("OIDC_ISSUER", "id.example.com"),
        ("OIDC_CLIENT_ID", ""),
        ("OIDC_ROLES", ""),
        ("OIDC_ROLES", "crew"),
        ("OIDC_ROLES", "=viewer"),
        ("OIDC_ROLES", "crew="),
        ("OIDC_ONLY", "perhaps"),
        ("OIDC_SCOPES", "profile"),
        ("OIDC_SCOPES", "openid  profile\n"),
        ("PUBLIC_URL", ""),
    ],
)
def test_what_is_missing_or_wrong_is_named(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, **NEEDED | {"OIDC_CLIENT_SECRET": "hunter2"} | {name: text})
    said = "\n".join(refused.value.problems)
    assert said.startswith(f"{PREFIX}{name}:")
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ["AxesStandaloneBackend", "ModelBackend"]),
        (NEEDED, ["AxesStandaloneBackend", "ModelBackend", "SignedOn"]),
        (NEEDED | {"OIDC_ONLY": "true"}, ["AxesStandaloneBackend", "SignedOn"]),
    ],
)
def test_which_backends_there_are(tmp_path: Path, values: dict[str, str], expected: list[str]) -> None:
    words = "from django.conf import settings; print(*settings.AUTHENTICATION_BACKENDS)"
    done = run(tmp_path, "-c", words, **values)
    assert done.returncode == 0, done.stderr
    assert [each.rpartition(".")[2] for each in done.stdout.split()] == expected
