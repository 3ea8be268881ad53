"""Providers, credentials and the catalogue: what forms refuse, and what the database refuses behind them."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.db.models import ProtectedError

from providers.kinds import KINDS
from providers.models import CatalogueModel, Credential, Provider
from providers.wire import Timeouts
from tests.support.rows import make_credential, make_provider, make_route

pytestmark = pytest.mark.django_db


def provider(**fields: Any) -> Provider:
    return Provider(**{"name": "p", "kind": "openai", **fields})


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"name": ""}, "name"),
        ({"name": "Open AI"}, "name"),
        ({"name": "-x"}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"kind": "made-up"}, "kind"),
        ({"kind": ""}, "kind"),
        ({"base_url": "http://169.254.169.254", "allow_private_addresses": True}, "base_url"),
        ({"base_url": "http://10.0.0.1/v1"}, "base_url"),
        ({"kind": "openai_compatible"}, "base_url"),
        ({"kind": "sandbox", "base_url": "https://x.example"}, "base_url"),
        *(
            ({f"{name}_timeout": value}, f"{name}_timeout")
            for name in Timeouts.__dataclass_fields__
            for value in (0, -1, 3601, math.inf, math.nan, None)
        ),
    ],
)
def test_a_form_refuses_a_bad_provider(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as caught:
        provider(**fields).full_clean()
    assert where in caught.value.message_dict


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_provider_of_each_kind_needs_little(kind: str) -> None:
    row = provider(kind=kind, base_url="" if KINDS[kind].base_url else "https://x.example/v1/")
    row.full_clean()
    row.save()
    assert not row.address.endswith("/")
    defaults = Timeouts()
    for name in Timeouts.__dataclass_fields__:
        assert getattr(row, f"{name}_timeout") == getattr(defaults, name)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        *({f"{name}_timeout": value} for name in Timeouts.__dataclass_fields__ for value in (0, -1)),
    ],
)
def test_the_database_refuses_what_no_form_has_seen(fields: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        Provider.objects.bulk_create([provider(**fields)])


def test_a_name_is_given_once() -> None:
    make_provider("openai")
    with pytest.raises(IntegrityError):
        Provider.objects.bulk_create([provider(name="openai")])


def test_a_provider_in_use_cannot_be_deleted_and_another_takes_its_credentials_along() -> None:
    used, free = make_provider("used"), make_provider("free")
    make_route("gpt-*", used)
    with pytest.raises(ProtectedError):
        used.delete()
    free.delete()
    assert list(Credential.objects.values_list("provider__name", flat=True)) == ["used"]


@pytest.mark.parametrize("bad", ["unsealed", "label twice"])
def test_the_database_refuses_bad_credentials(bad: str) -> None:
    row = make_provider()
    fields = {"unsealed": {"label": "x", "sealed": ""}, "label twice": {"label": "default", "sealed": "x"}}
    with pytest.raises(IntegrityError):
        Credential.objects.bulk_create([Credential(provider=row, **fields[bad])])


def test_two_providers_may_have_credentials_of_the_same_label() -> None:
    one, two = make_provider("one"), make_provider("two")
    assert make_credential(one, label="x").label == make_credential(two, label="x").label


def test_a_credential_is_called_by_its_label_and_end() -> None:
    assert str(make_provider().credentials.get()) == "default …abcd"


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"name": "a b"}, "name"),
        ({"name": "*-gpt"}, "name"),
        ({"capabilities": ["a b"]}, "capabilities"),
        ({"capabilities": "tools"}, "capabilities"),
        ({"input_price": Decimal(-1)}, "input_price"),
        ({"context_window": 0}, "__all__"),
        ({"kind": "made-up"}, "kind"),
    ],
)
def test_a_form_refuses_a_bad_model(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as caught:
        CatalogueModel(**{"kind": "openai", "name": "m", **fields}).full_clean()
    assert where in caught.value.message_dict


@pytest.mark.parametrize(
    "fields",
    [
        {"input_price": -1},
        {"output_price": -1},
        {"cache_read_price": -1},
        {"cache_write_price": -1},
        {"context_window": 0},
        {"max_output_tokens": 0},
        {"name": "there"},
    ],
)
def test_the_database_refuses_a_bad_model(fields: dict[str, Any]) -> None:
    CatalogueModel.objects.create(kind="openai", name="there")
    with pytest.raises(IntegrityError):
        CatalogueModel.objects.bulk_create([CatalogueModel(**{"kind": "openai", "name": "m", **fields})])


@pytest.mark.parametrize("empty", [{}, "", None])
def test_no_capabilities_are_an_empty_list(empty: object) -> None:
    row = CatalogueModel(kind="openai", name="m", capabilities=empty)
    row.clean()
    assert row.capabilities == []
