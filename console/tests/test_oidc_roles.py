"""A role that single sign-on is to give and that is not there, told before somebody cannot log in."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from console.oidc.identity_provider import IdentityProvider
from console.oidc.roles_check import check_roles
from console.tests.signing_on import Hands, signing_on
from tests.support.fake_idp import FakeIdp
from tests.support.served import Served

pytestmark = pytest.mark.django_db


def test_djangos_check_names_it_and_what_there_is(on: IdentityProvider) -> None:
    with pytest.raises(SystemCheckError, match=r"'no-such-role'.*key manager, operator, owner, viewer"):
        call_command("check", databases=["default"], fail_level="WARNING")
    # Without a database nobody knows, and asks nothing; and it keeps nobody from migrating.
    call_command("check", fail_level="WARNING")
    call_command("migrate", skip_checks=False, verbosity=0)
    Group.objects.create(name="no-such-role")
    call_command("check", databases=["default"], fail_level="WARNING")


def test_roles_that_are_there_are_well(idp: FakeIdp, clock: Hands) -> None:
    assert check_roles(["default"]) == []
    with signing_on(idp, clock, roles={"heads": frozenset({"owner"})}):
        assert check_roles(["default"]) == []


def test_a_start_says_it_and_serves(idp: FakeIdp) -> None:
    with Served(
        LLM_GATEWAY_PUBLIC_URL="http://127.0.0.1:1",
        LLM_GATEWAY_OIDC_ISSUER=idp.issuer,
        LLM_GATEWAY_OIDC_CLIENT_ID="gateway",
        LLM_GATEWAY_OIDC_ROLES="heads=owner; crew=opertor",
    ) as gateway:
        assert "LLM_GATEWAY_OIDC_ROLES gives 'opertor', and there is no such role" in gateway.output
