"""The addresses of the API: one table that the lean door and Django's resolver both read."""

from __future__ import annotations

from django.urls import path, re_path

from apiv1.base import GatewayView
from apiv1.views import (
    ChatCompletions,
    Completions,
    CountTokens,
    Embeddings,
    Health,
    KeptResponse,
    Messages,
    Model,
    Models,
    Ready,
    Responses,
    Unknown,
)

EXACT: dict[str, type[GatewayView]] = {
    "/v1/chat/completions": ChatCompletions,
    "/v1/completions": Completions,
    "/v1/embeddings": Embeddings,
    "/v1/messages": Messages,
    "/v1/messages/count_tokens": CountTokens,
    "/v1/models": Models,
    "/v1/responses": Responses,
    "/health": Health,
    "/ready": Ready,
}
# What follows the prefix is handed to the view. The last one takes all that is left.
PREFIXES: dict[str, type[GatewayView]] = {
    "/v1/models/": Model,
    "/v1/responses/": KeptResponse,
    "/v1/": Unknown,
}

urlpatterns = [
    *(path(address[1:], view.as_view()) for address, view in EXACT.items()),
    *(re_path(rf"^{prefix[1:]}(?P<captured>.+)\Z", view.as_view()) for prefix, view in PREFIXES.items()),
]
