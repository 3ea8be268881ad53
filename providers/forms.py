"""Forms for providers: a secret goes in and never comes out, and an address cannot be changed under it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.forms import PaginationInlineFormSet
from unfold.widgets import UnfoldAdminPasswordWidget

from providers.apps import vault
from providers.base_urls import BaseUrlError, check_base_url
from providers.crypto import last4
from providers.egress import system_lookup
from providers.models import Credential, Provider

# Longer than any provider's key, cloud service accounts included.
_MAX_SECRET = 8192


class ProviderForm(forms.ModelForm):
    """A provider. A host name is resolved too, so that a public name of a private address is refused."""

    class Meta:
        model = Provider
        fields = (
            "name",
            "kind",
            "base_url",
            "enabled",
            "allow_private_addresses",
            "connect_timeout",
            "first_byte_timeout",
            "first_byte_stream_timeout",
            "idle_timeout",
            "total_timeout",
            "client_stall_timeout",
        )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        base_url = cleaned.get("base_url", "")
        private = cleaned.get("allow_private_addresses", self.instance.allow_private_addresses)
        if base_url and "base_url" in self.changed_data and not private:
            try:
                check_base_url(base_url, allow_private=False, resolve=system_lookup)
            except BaseUrlError as error:
                self.add_error("base_url", f"Refused: {error}.")
        return cleaned


class CredentialForm(forms.ModelForm):
    """A credential. `secret` is written and never read; empty keeps the one that is there."""

    secret = forms.CharField(
        required=False,
        max_length=_MAX_SECRET,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="Encrypted when saved and never shown again. Empty: unchanged.",
    )

    class Meta:
        model = Credential
        fields = ("label", "enabled")

    def clean_secret(self) -> str:
        secret: str = self.cleaned_data["secret"].strip()
        if not secret and self.instance._state.adding:
            raise ValidationError("Enter the secret.")
        if not all("!" <= character <= "~" for character in secret):
            raise ValidationError("A secret has only printable ASCII characters and no spaces.")
        if secret:
            self.instance.entered_for = ""
        return secret

    def save(self, commit: bool = True) -> Credential:  # noqa: FBT001, FBT002 - Django's signature
        """Seal the secret for the provider, which has been saved by now."""
        secret = self.cleaned_data.get("secret")
        if secret:
            row: Credential = self.instance
            row.sealed = vault().seal(secret, row.provider_id)
            row.last4 = last4(secret)
            row.managed_by_env = False
        saved: Credential = super().save(commit)
        return saved


class CredentialFormSet(PaginationInlineFormSet):
    """A provider's credentials. Refuses to send what was entered for one address to another."""

    def clean(self) -> None:
        super().clean()
        provider: Provider = self.instance
        if provider._state.adding:
            return
        before = Provider.objects.get(pk=provider.pk)
        if before.address == provider.address and before.kind == provider.kind:
            return
        if self._kept():
            raise ValidationError(
                "The address changes, so each secret must be entered again or its credential deleted: "
                "otherwise it would be sent to a place that it was not entered for."
            )

    def _kept(self) -> bool:
        """True when a stored secret would survive; those that the request does not mention count too."""
        gone = {
            form.instance.pk
            for form in self.initial_forms
            if form.cleaned_data.get("secret") or form.cleaned_data.get("DELETE")
        }
        return Credential.objects.filter(provider=self.instance).exclude(pk__in=gone).exists()
