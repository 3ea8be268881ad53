"""Speech and transcription by the official SDK: sound out and in, whole and as events, and how it breaks."""

from __future__ import annotations

import http.client
import os

import httpx2
import openai
import orjson
import pytest

from tests.e2e.sdks import ODD, Stage
from tests.support.surfaces import send
from tests.support.upstream import mind
from tests.support.upstream.openai_forms import File, form_of
from tests.support.upstream.openai_media import sound, transcript
from tests.support.upstream.script import Answer, Close, Json, Reset, Send, SendHead, Stall

VOICE = "alloy"
TTS = "gpt-4o-mini-tts"
ASR = "gpt-4o-transcribe"


def use_openai_for_all(stage: Stage) -> None:
    """Every model goes to OpenAI: `whisper-1` and `tts-1` too."""
    gateway = stage.gateway
    gateway.use(gateway.snapshot([gateway.route("*", gateway.provider("openai"))]))


def test_speech_is_the_providers_bytes(stage: Stage) -> None:
    answer = stage.sdks.openai.audio.speech.create(model=TTS, voice=VOICE, input=ODD)
    assert answer.read() == sound(ODD)
    assert answer.response.headers["content-type"] == "audio/mpeg"
    assert "set-cookie" not in answer.response.headers
    assert "openai-organization" not in answer.response.headers
    assert answer.response.headers["x-gateway-provider"] == "openai"
    record = stage.gateway.wait_record()
    assert (record.surface, record.model, record.status, record.outcome) == ("speech", TTS, 200, "ok")
    assert record.usage is not None
    assert (record.usage.input_tokens, record.usage.source) == (-(-len(ODD) // 4), "estimated")


def test_speech_comes_as_it_is_made(stage: Stage) -> None:
    stage.fake.script("/v1/audio/speech", [Answer(events=1), Stall()])
    with stage.sdks.openai.audio.speech.with_streaming_response.create(
        model=TTS, voice=VOICE, input="hello"
    ) as answer:
        first = next(answer.iter_bytes(4096))
        assert first == sound("hello")[:4096]
    assert stage.fake.wait_closed(stage.fake.last)
    assert stage.gateway.wait_record().outcome == "client_gone"


def test_speech_as_events(stage: Stage) -> None:
    with stage.sdks.openai.audio.speech.with_streaming_response.create(
        model=TTS, voice=VOICE, input="hello", stream_format="sse"
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = list(answer.iter_lines())
    assert "event: speech.audio.done" in lines
    record = stage.gateway.wait_record()
    assert record.usage is not None
    assert (record.usage.output_tokens, record.usage.source) == (77, "provider")
    assert record.stream


def test_a_slow_listener_makes_the_provider_wait(stage: Stage) -> None:
    much = 64 * 1024 * 1024
    stage.fake.script(
        "/v1/audio/speech",
        [SendHead(200, {"content-type": "audio/pcm"}), *[Send(bytes(1024 * 1024))] * 64],
    )
    with stage.sdks.openai.audio.speech.with_streaming_response.create(
        model=TTS, voice=VOICE, input="long"
    ) as answer:
        pieces = answer.iter_bytes(1024)
        next(pieces)
        request = stage.fake.last
        # It fills what lies between, some megabytes of sockets, and rests.
        before = -1
        while request.sent != before:
            before = request.sent
            next(pieces)
            stage.gateway.wait(lambda: True)
        assert request.sent < much
    assert stage.gateway.wait_record().outcome == "client_gone"


@pytest.mark.parametrize("end", [Close(), Reset()], ids=["close", "reset"])
def test_sound_that_breaks_breaks_the_connection(stage: Stage, end: Close | Reset) -> None:
    stage.fake.script("/v1/audio/speech", [Answer(events=2), end])
    with (
        pytest.raises(httpx2.RemoteProtocolError, match=r"incomplete|closed"),
        stage.sdks.openai.audio.speech.with_streaming_response.create(
            model=TTS, voice=VOICE, input="hello"
        ) as answer,
    ):
        list(answer.iter_bytes())
    record = stage.gateway.wait_record()
    assert (record.outcome, record.code) == ("error", "upstream_truncated")
    assert record.attempts[-1].fault == "upstream_bad"


def test_sound_that_breaks_before_its_first_byte_is_made_elsewhere(stage: Stage) -> None:
    stage.fake.script("/v1/audio/speech", [SendHead(200, {"content-type": "audio/mpeg"}), Close()], times=1)
    answer = stage.sdks.openai.audio.speech.create(model=TTS, voice=VOICE, input="hello")
    assert answer.read() == sound("hello")
    assert [attempt.outcome for attempt in stage.gateway.wait_record().attempts] == ["truncated", "ok"]


def test_the_gateway_goes_down_within_sound(stage: Stage) -> None:
    stage.fake.script("/v1/audio/speech", [Answer(events=1), Stall()])
    with stage.sdks.openai.audio.speech.with_streaming_response.create(
        model=TTS, voice=VOICE, input="hello"
    ) as answer:
        pieces = answer.iter_bytes(4096)
        next(pieces)
        stage.gateway.cut()
        with pytest.raises(httpx2.RemoteProtocolError, match="incomplete"):
            list(pieces)
    assert stage.gateway.wait_record().code == "draining"


def test_a_page_is_no_sound(stage: Stage) -> None:
    stage.fake.script("/v1/audio/speech", [Json(200, "<html>", {"content-type": "text/html"})])
    with pytest.raises(openai.InternalServerError) as caught:
        stage.sdks.openai.audio.speech.create(model=TTS, voice=VOICE, input="hello")
    assert caught.value.code == "upstream_invalid_response"


# --- Transcription


def test_a_transcription(stage: Stage) -> None:
    recording = os.urandom(100_000)
    answer = stage.sdks.openai.audio.transcriptions.create(
        model=ASR, file=("žluťoučký.mp3", recording, "audio/mpeg"), language="cs", prompt="names"
    )
    assert answer.text == transcript(recording)
    fields = form_of(stage.last)
    (file,) = fields["file"]
    assert isinstance(file, File)
    assert (file.content, file.content_type) == (recording, "audio/mpeg")
    assert (fields["model"], fields["language"], fields["prompt"]) == ([ASR], ["cs"], ["names"])
    record = stage.gateway.wait_record()
    assert (record.surface, record.model, record.provider) == ("transcriptions", ASR, "openai")
    assert record.usage is not None
    assert (record.usage.input_tokens, record.usage.output_tokens, record.usage.source) == (14, 6, "provider")


def test_a_transcription_as_events(stage: Stage) -> None:
    stream = stage.sdks.openai.audio.transcriptions.create(model=ASR, file=("a.mp3", b"sound"), stream=True)
    events = list(stream)
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    assert "".join(deltas) == transcript(b"sound")
    assert events[-1].type == "transcript.text.done"
    record = stage.gateway.wait_record()
    assert record.stream
    assert record.usage is not None
    assert (record.usage.output_tokens, record.usage.source) == (6, "provider")


def test_a_model_that_does_not_stream_answers_whole(stage: Stage) -> None:
    use_openai_for_all(stage)
    stream = stage.sdks.openai.audio.transcriptions.with_raw_response.create(
        model="whisper-1", file=("a.mp3", b"sound"), stream=True
    )
    assert stream.http_response.read() == orjson.dumps(
        {"text": transcript(b"sound"), "usage": {"type": "duration", "seconds": 3}}
    )
    record = stage.gateway.wait_record()
    assert record.usage is not None
    assert (record.usage.source, record.outcome) == ("estimated", "ok")


@pytest.mark.parametrize("form", ["text", "srt", "vtt"])
def test_forms_that_are_no_json(stage: Stage, form: str) -> None:
    use_openai_for_all(stage)
    answer = stage.sdks.openai.audio.transcriptions.with_raw_response.create(
        model="whisper-1",
        file=("a.mp3", b"sound"),
        response_format=form,  # type: ignore[call-overload]  # each is legal; the parameter is one of them
    )
    assert answer.http_response.text == transcript(b"sound") + "\n"
    assert answer.headers["content-type"] != "application/json"
    assert answer.headers["content-length"] == str(len(answer.http_response.content))


def test_verbose_and_granular(stage: Stage) -> None:
    use_openai_for_all(stage)
    answer = stage.sdks.openai.audio.transcriptions.create(
        model="whisper-1",
        file=("a.mp3", b"sound"),
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert (answer.text, answer.language) == (transcript(b"sound"), "english")
    assert form_of(stage.last)["timestamp_granularities[]"] == ["word", "segment"]


def test_a_translation(stage: Stage) -> None:
    use_openai_for_all(stage)
    # OpenAI is about to retire it; servers like it are not.
    with pytest.deprecated_call():
        answer = stage.sdks.openai.audio.translations.create(model="whisper-1", file=("a.mp3", b"sound"))
    assert answer.text == transcript(b"sound")
    assert stage.last.path == "/v1/audio/translations"


def test_a_file_of_25_megabytes(stage: Stage) -> None:
    recording = bytes(25 * 1000 * 1000)
    answer = stage.sdks.openai.audio.transcriptions.create(model=ASR, file=("a.wav", recording))
    assert answer.text == transcript(recording)


def test_more_than_that_is_refused_before_it_is_read(stage: Stage) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", stage.gateway.port, timeout=10)
    connection.putrequest("POST", "/v1/audio/transcriptions")
    connection.putheader("authorization", f"Bearer {stage.gateway.key}")
    connection.putheader("content-type", "multipart/form-data; boundary=b")
    connection.putheader("content-length", str(40 * 1024 * 1024))
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 413
    connection.close()


def test_what_the_client_sends_arrives_byte_for_byte(stage: Stage) -> None:
    body = (
        b'--x.y\r\ncontent-disposition: form-data; NAME="file"; filename="a \\"b\\".mp3"; '
        b"filename*=UTF-8''a.mp3\r\nX-Odd: 1\r\ncontent-type:audio/mpeg\r\n\r\n\x00\xff--x\r\n-x.y\r\n"
        b"--x.y\r\nContent-Disposition: form-data; name=model\r\n\r\ngpt-4o-transcribe\r\n--x.y--\r\n"
    )
    kind = 'multipart/form-data; boundary="x.y"'
    stage.fake.script("/v1/audio", [Json(200, {"text": "a"})], check=False)
    headers = {"authorization": f"Bearer {stage.gateway.key}", "content-type": kind}
    status, _, raw = send(stage.gateway, "POST", "/v1/audio/transcriptions", body, headers)
    assert (status, raw) == (200, b'{"text":"a"}')
    assert stage.fake.last.body == body
    assert stage.fake.last.header("content-type") == kind


def test_a_key_that_may_not_use_the_model(stage: Stage) -> None:
    stage.gateway.use(stage.gateway.snapshot(key={"allowed_models": ("gpt-4o-mini*",)}))
    with pytest.raises(openai.PermissionDeniedError) as caught:
        stage.sdks.openai.audio.transcriptions.create(model=ASR, file=("a.mp3", b"sound"))
    assert caught.value.code == "model_not_allowed"
    assert stage.fake.requests == []


def test_speech_and_its_words_are_counted(stage: Stage) -> None:
    stage.sdks.openai.audio.speech.create(model=TTS, voice=VOICE, input="hello there").read()
    stage.gateway.wait_record()
    value = stage.gateway.registry.get_sample_value(
        "gateway_requests_total", {"surface": "speech", "route": "gpt-*", "status": "200", "code": "ok"}
    )
    assert value
    assert mind.tokens("hello there")
