"""LiteLLM's `model_list`: each entry as a deployment, with the provider that it needs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from providers.kinds import KINDS
from providers.presets import CUSTOM, PRESETS
from routing.configfile import ConfigError
from routing.imports.draft import Draft, Secret, is_model, is_pattern, named, reference
from routing.imports.reading import Fields, shown
from routing.imports.services import LITELLM, LITELLM_VARIABLES, litellm_address, litellm_prefix
from routing.models import MAX_PATCH, RESERVED_FIELDS

MARK = "os.environ/"
# What LiteLLM adds to a request that does not say it.
_DEFAULTS = (
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "stop",
    "n",
    "user",
    "reasoning_effort",
    "thinking",
    "tools",
    "tool_choice",
    "response_format",
    "logit_bias",
    "service_tier",
    "keep_alive",
)
_PRICES = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
}
_WHY = {
    "api_version": "Azure is asked by its v1 API, which has none",
    "max_retries": "retries are a route's: `tries`",
    "num_retries": "retries are a route's: `tries`",
    "cooldown_time": "a breaker is a provider's: `breaker.open`",
    "organization": "headers of one's own are not sent: a project's key says as much",
    "extra_headers": "headers of one's own are not sent",
    "headers": "headers of one's own are not sent",
    "tags": "routes do not choose by tags: give the team a route of its own",
    "budget_duration": "budgets are of teams and keys",
    "max_budget": "budgets are of teams and keys",
    "mock_response": "the kind sandbox answers by itself",
}


@dataclass(slots=True)
class Deployment:
    """One entry of the list: what clients ask for, and whom it is asked of. Times in seconds."""

    path: str
    group: str
    provider: str
    model: str
    weight: float | None = None
    rpm: int | None = None
    tpm: int | None = None
    order: int | None = None
    at_once: int | None = None
    timeout: float | None = None
    stream_timeout: float | None = None
    patch: dict[str, Any] = field(default_factory=dict)

    @property
    def prefixed(self) -> bool:
        """Clients' names begin with what the provider does not know: `openai/*` for `openai/*`."""
        return self.model.endswith("*") and self.group != self.model


class Models:
    """Reads the list into a draft's providers and catalogue."""

    def __init__(self, draft: Draft, credentials: dict[str, Fields]) -> None:
        self._draft = draft
        self._credentials = credentials
        self._priced: dict[tuple[str, str], dict[str, Any]] = {}

    def read(self, entry: Fields) -> Deployment | None:
        """One entry; None where it is left out, which the report says."""
        group = entry.text("model_name")
        params = entry.fields("litellm_params")
        info = entry.fields("model_info")
        path = named(entry.path, group)
        prefix, model = litellm_prefix(params.text("model"), params.text("custom_llm_provider"))
        preset = LITELLM.get(prefix)
        why = _unusable(group, model) or ("" if preset else _unknown(prefix))
        provider = "" if why or preset is None else self._provider(preset, params, path)
        if not provider:
            if why:
                self._draft.report.left_out.append(f"{path}: {why}")
            return None
        found = Deployment(path, group, provider, model)
        _figures(found, params, entry)
        self._patch(found, params)
        self._catalogue(found, params, info)
        self._unused(found, params, info, entry)
        return found

    def _provider(self, preset: str, params: Fields, path: str) -> str | None:
        report = self._draft.report
        key, base = params.text("api_key"), params.text("api_base") or params.text("base_url")
        stored = self._credentials.get(params.text("litellm_credential_name"))
        if stored is not None:
            key, base = key or stored.text("api_key"), base or stored.text("api_base")
        if base.startswith(MARK):
            report.left_out.append(
                f"{path}: api_base is {shown(base)}, and an address is no secret: write it into the file"
            )
            return None
        address = litellm_address(preset, base)
        if address is None:
            report.left_out.append(f"{path}: it has no api_base")
            return None
        if preset == "azure" and address.base_url != base.rstrip("/"):
            report.approximated.append(f"{path}: Azure is asked by its v1 API at {shown(address.base_url)}")
        if preset == "gemini":
            report.approximated.append(f"{path}: Gemini is asked in OpenAI's dialect, not in its own")
        secret = reference(key, MARK)
        if not key and (preset != "openai" or address.preset != CUSTOM):
            secret = Secret(name=LITELLM_VARIABLES.get(preset, PRESETS[preset].key_env))
        if secret.empty and KINDS[PRESETS[address.preset].kind].needs_credential:
            report.to_do.append(f"give a credential to the provider of {path}")
        return self._draft.provider(address, [secret], f"{path} api_key")

    def _patch(self, found: Deployment, params: Fields) -> None:
        report = self._draft.report
        patch: dict[str, Any] = {}
        for name in _DEFAULTS:
            value = params.raw(name)
            if value is not None:
                patch[name] = value
        if patch:
            report.approximated.append(
                f"{found.path}: set on every call: {', '.join(patch)}; in LiteLLM clients' values win"
            )
        patch.update(params.fields("extra_body").items())
        patch.update({str(name): None for name in params.listing("additional_drop_params")})
        for name in RESERVED_FIELDS & patch.keys():
            del patch[name]
            report.left_out.append(f"{found.path}: {name}: the gateway sets it itself")
        try:
            fits = len(json.dumps(patch, allow_nan=False)) <= MAX_PATCH
        except (TypeError, ValueError):
            fits = False
        if fits:
            found.patch = patch
        else:
            report.left_out.append(f"{found.path}: fields for the body that are too large or not JSON")

    def _catalogue(self, found: Deployment, params: Fields, info: Fields) -> None:
        prices: dict[str, float] = {}
        for name, theirs in _PRICES.items():
            listed = info.number(theirs)
            listed = params.number(theirs) if listed is None else listed
            if listed is not None:
                prices[name] = round(listed * 1_000_000, 6)
        row: dict[str, Any] = {}
        for name, theirs in (
            ("context_window", "max_input_tokens"),
            ("max_output_tokens", "max_output_tokens"),
        ):
            value = info.whole(theirs)
            if value:
                row[name] = value
        if prices:
            row["prices"] = prices
        if not row or "*" in found.model:
            return
        said = self._draft.providers[found.provider]
        kind = said.get("kind") or PRESETS[said["preset"]].kind
        before = self._priced.setdefault((kind, found.model), row)
        if before is row:
            self._draft.models.append({"kind": kind, "name": found.model, **row})
            self._draft.report.carried.append(
                f"{found.path}: prices or limits of {kind} {shown(found.model)}"
            )
        elif before != row:
            self._draft.report.left_out.append(
                f"{found.path}: model_info differs from another entry's for the same model, which counts"
            )

    def _unused(self, found: Deployment, params: Fields, info: Fields, entry: Fields) -> None:
        info.text("id")
        info.text("mode")
        for name in params.rest():
            why = _WHY.get(name, "nothing here has that meaning")
            self._draft.report.left_out.append(f"{found.path}: litellm_params.{shown(name)}: {why}")
        for name in info.rest():
            self._draft.report.left_out.append(
                f"{found.path}: model_info.{shown(name)}: the catalogue judges a model by its name"
            )
        for name in entry.rest():
            self._draft.report.left_out.append(f"{found.path}: {shown(name)}: nothing here has that meaning")


def _figures(found: Deployment, params: Fields, entry: Fields) -> None:
    found.weight = params.number("weight")
    rpm, tpm = params.whole("rpm"), params.whole("tpm")
    found.rpm = entry.whole("rpm") if rpm is None else rpm
    found.tpm = entry.whole("tpm") if tpm is None else tpm
    found.order = params.integer("order") if params.raw("order") is not None else None
    found.at_once = params.whole("max_parallel_requests")
    found.timeout = params.number("timeout")
    found.stream_timeout = params.number("stream_timeout")


def _unusable(group: str, model: str) -> str:
    if not is_pattern(group):
        return "model_name is neither a name nor a prefix that ends in one star"
    if not model:
        return "litellm_params.model is missing"
    if not is_model(model.removesuffix("*") or "any"):
        return "litellm_params.model is no model's name"
    if model.endswith("*") and not group.endswith("*"):
        return "its model is a wildcard and its model_name is not"
    return ""


def _unknown(prefix: str) -> str:
    if prefix in ("", "*"):
        return "which provider it is cannot be told from the model's name"
    return (
        f"{shown(prefix)}: no preset is known for it; where the service speaks OpenAI's dialect, write a "
        "provider of the kind openai_compatible"
    )


def credentials_of(config: Fields) -> dict[str, Fields]:
    """`credential_list` by name. Raises ConfigError."""
    found: dict[str, Fields] = {}
    for entry in config.each("credential_list"):
        name = entry.text("credential_name")
        if name in found:
            raise ConfigError([f"{entry.path}.credential_name: it is there twice"])
        found[name] = entry.fields("credential_values")
    return found
