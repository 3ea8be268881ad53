"""The file of a batch: one request a line, read piece by piece and checked before the batch is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dialects.errors import GatewayError, bad_request
from dialects.file_ids import file_ids, may_name_files
from dialects.media import MODERATION_MODEL
from dialects.parse import parse_json, without_bom

# A line with pictures in it; more is no request that any provider takes.
MAX_LINE = 32 << 20

# Of all lines together: OpenAI has fewer in a project's batches.
MAX_FILES = 10_000

# Refuses a model that may not be used, by a GatewayError.
Permit = Callable[[str], None]


class BatchLines:
    """Checks every line: a request to `endpoint`, for a model that `permit` lets pass. Raises GatewayError
    that names the line; what is in it is never quoted."""

    def __init__(self, endpoint: str, permit: Permit) -> None:
        self._endpoint = endpoint
        self._permit = permit
        self._held = bytearray()
        self._known: set[str] = set()
        self.count = 0
        # Files that the requests name.
        self.files: set[str] = set()

    def feed(self, data: bytes) -> None:
        """The next bytes of the file."""
        end = data.rfind(b"\n") + 1
        if end:
            whole = bytes(self._held) + data[:end]
            self._held.clear()
            for line in whole.split(b"\n"):
                self._line(line)
        self._held += data[end:]
        if len(self._held) > MAX_LINE:
            raise self._wrong("is longer than a request may be")

    def finish(self) -> None:
        """The file is over."""
        self._line(bytes(self._held))
        if not self.count:
            raise bad_request("The batch's file holds no request.", "input_file_id", "empty_file")

    def _line(self, line: bytes) -> None:
        line = line.strip()
        if self.count == 0:
            line = without_bom(line)
        if not line:
            return
        self.count += 1
        try:
            request = parse_json(line)
        except GatewayError:
            raise self._wrong("is no JSON object that has one reading") from None
        body = request.get("body")
        if request.get("url") != self._endpoint or request.get("method") != "POST":
            raise self._wrong("is not a POST to the batch's endpoint")
        if type(body) is not dict:
            raise self._wrong("has no body")
        if may_name_files(line):
            self.files |= file_ids(body)
            if len(self.files) > MAX_FILES:
                raise self._wrong("names one file too many")
        self._model(body.get("model"))

    def _model(self, model: Any) -> None:
        if model is None and self._endpoint == "/v1/moderations":
            model = MODERATION_MODEL
        if type(model) is not str or not model:
            raise self._wrong("names no model")
        if model in self._known:
            return
        try:
            self._permit(model)
        except GatewayError as error:
            words = f"Line {self.count} of the batch's file: {error.message}"
            raise GatewayError(error.fault, words, error.detail) from None
        self._known.add(model)

    def _wrong(self, what: str) -> GatewayError:
        return bad_request(
            f"Line {self.count} of the batch's file {what}.", "input_file_id", "invalid_batch_line"
        )
