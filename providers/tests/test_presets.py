"""Presets as data: each of them makes a provider that the admin would take."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from django.core.exceptions import ValidationError

from providers.kinds import KINDS
from providers.models import Provider
from providers.presets import CUSTOM, PLACEHOLDER, PRESETS, Preset

EACH = pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
PROMISED = {
    "groq", "together", "mistral", "deepseek", "openrouter", "xai", "gemini", "vllm", "llamacpp", "lmstudio",
    "azure",
}  # fmt: skip


def made(preset: Preset) -> Provider:
    return Provider(
        name=preset.name,
        kind=preset.kind,
        base_url=preset.base_url.replace(PLACEHOLDER, "crew"),
        allow_private_addresses=preset.private,
    )


def test_the_popular_ones_are_there() -> None:
    assert set(PRESETS) >= PROMISED


@pytest.mark.django_db
@EACH
def test_a_preset_makes_a_provider_that_the_forms_take(preset: Preset) -> None:
    provider = made(preset)
    if preset.name == CUSTOM:
        provider.base_url = "https://api.example.com/v1"
    provider.full_clean()
    assert urlsplit(provider.address).hostname
    assert not provider.address.endswith("/")


@EACH
def test_a_service_on_the_internet_is_encrypted_and_wants_a_key(preset: Preset) -> None:
    if preset.private:
        assert preset.base_url.startswith("http://localhost:")
        assert not KINDS[preset.kind].needs_credential
    elif preset.name != CUSTOM:
        assert (preset.base_url or KINDS[preset.kind].base_url).startswith("https://")
        assert preset.key_page.startswith("https://")
        assert preset.key_env.isidentifier()


@pytest.mark.django_db
def test_a_placeholder_that_was_left_is_refused() -> None:
    with pytest.raises(ValidationError) as caught:
        Provider(name="azure", kind="azure_openai", base_url=PRESETS["azure"].base_url).full_clean()
    assert "your own resource" in str(caught.value.message_dict["base_url"])


@pytest.mark.django_db
@pytest.mark.parametrize("preset", [p for p in PRESETS.values() if p.private], ids=lambda p: p.name)
def test_a_private_preset_needs_its_permission(preset: Preset) -> None:
    provider = made(preset)
    provider.allow_private_addresses = False
    with pytest.raises(ValidationError):
        provider.full_clean()
