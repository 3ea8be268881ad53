"""The endpoints of images, sound, moderation and reranking: OpenAI's surfaces that pass through."""

from __future__ import annotations

import time

from apiv1.calls import CallView, Given
from apiv1.inbound import Inbound, check_plain
from dialects.form import boundary_of, parse_form
from dialects.media import (
    IMAGE_EDITS,
    IMAGE_VARIATIONS,
    IMAGES,
    MODERATIONS,
    RERANK,
    RESPONSE_TOKENS,
    SPEECH,
    TRANSCRIPTIONS,
    TRANSLATIONS,
)
from pipeline.call import Parcel


class FormView(CallView):
    """An endpoint whose body is a form with files, of which one field names the model."""

    async def take(self, inbound: Inbound) -> Given:
        content_type = inbound.headers.get("content-type", "")
        check_plain(inbound)
        # A wrong type is told before megabytes are read.
        boundary_of(content_type)
        raw = await inbound.body()
        started = time.monotonic()
        form = parse_form(raw, content_type)
        return Given(raw, form.body, started, Parcel(content_type, form=form))


class Images(CallView):
    """POST /v1/images/generations, streaming and not."""

    surface = "images"
    dialect = IMAGES


class ImageEdits(FormView):
    """POST /v1/images/edits: a form, or JSON that names pictures by URL or file."""

    surface = "image_edits"
    dialect = IMAGE_EDITS

    async def take(self, inbound: Inbound) -> Given:
        if inbound.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
            return await CallView.take(self, inbound)
        return await super().take(inbound)


class ImageVariations(FormView):
    """POST /v1/images/variations."""

    surface = "image_variations"
    dialect = IMAGE_VARIATIONS


class Speech(CallView):
    """POST /v1/audio/speech: sound, or events that hold it."""

    surface = "speech"
    dialect = SPEECH


class Transcriptions(FormView):
    """POST /v1/audio/transcriptions, streaming and not."""

    surface = "transcriptions"
    dialect = TRANSCRIPTIONS


class Translations(FormView):
    """POST /v1/audio/translations."""

    surface = "translations"
    dialect = TRANSLATIONS


class Moderations(CallView):
    """POST /v1/moderations."""

    surface = "moderations"
    dialect = MODERATIONS


class Rerank(CallView):
    """POST /v1/rerank, as Jina, Cohere and vLLM have it."""

    surface = "rerank"
    dialect = RERANK


class ResponseTokens(CallView):
    """POST /v1/responses/input_tokens: the provider's own count, an estimate where it has none."""

    surface = "response_tokens"
    dialect = RESPONSE_TOKENS
