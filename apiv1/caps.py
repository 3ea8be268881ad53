"""How large a request's body may be, in bytes, address by address."""

from __future__ import annotations

from collections.abc import Mapping

# A prompt of a million tokens is about 5 MB; the rest is room for images. Providers take 20 to 32 MB.
MAX_BODY = 20 * 1024 * 1024
# OpenAI's 25 MB of sound, and the fields beside it. It is held in memory, as every body but the last is.
MAX_SOUND = 28 * 1024 * 1024
# Some pictures of several megabytes. OpenAI allows sixteen of 50 MB, which no process could hold for many.
MAX_PICTURES = 64 * 1024 * 1024
# OpenAI's 512 MB. It goes on to the provider as it comes, and is never held.
MAX_UPLOAD = 513 * 1024 * 1024

LARGER: Mapping[str, int] = {
    "/v1/audio/transcriptions": MAX_SOUND,
    "/v1/audio/translations": MAX_SOUND,
    "/v1/images/edits": MAX_PICTURES,
    "/v1/images/variations": MAX_PICTURES,
    "/v1/files": MAX_UPLOAD,
}
