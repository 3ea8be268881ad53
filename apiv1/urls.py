"""The addresses of the API: one table that the lean door and Django's resolver both read."""

from __future__ import annotations

from django.urls import path, re_path

from apiv1.base import GatewayView
from apiv1.kept import Batch, Batches, File, Files
from apiv1.media import (
    ImageEdits,
    Images,
    ImageVariations,
    Moderations,
    Rerank,
    ResponseTokens,
    Speech,
    Transcriptions,
    Translations,
)
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
    "/v1/audio/speech": Speech,
    "/v1/audio/transcriptions": Transcriptions,
    "/v1/audio/translations": Translations,
    "/v1/batches": Batches,
    "/v1/chat/completions": ChatCompletions,
    "/v1/completions": Completions,
    "/v1/embeddings": Embeddings,
    "/v1/files": Files,
    "/v1/images/edits": ImageEdits,
    "/v1/images/generations": Images,
    "/v1/images/variations": ImageVariations,
    "/v1/messages": Messages,
    "/v1/messages/count_tokens": CountTokens,
    "/v1/models": Models,
    "/v1/moderations": Moderations,
    "/v1/rerank": Rerank,
    "/v1/responses": Responses,
    "/v1/responses/input_tokens": ResponseTokens,
    "/health": Health,
    "/ready": Ready,
}
# What follows the prefix is handed to the view. The last one takes all that is left.
PREFIXES: dict[str, type[GatewayView]] = {
    "/v1/batches/": Batch,
    "/v1/files/": File,
    "/v1/models/": Model,
    "/v1/responses/": KeptResponse,
    "/v1/": Unknown,
}

urlpatterns = [
    *(path(address[1:], view.as_view()) for address, view in EXACT.items()),
    *(re_path(rf"^{prefix[1:]}(?P<captured>.+)\Z", view.as_view()) for prefix, view in PREFIXES.items()),
]
