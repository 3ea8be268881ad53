"""Images by the official SDK: made, edited and varied, whole and as a stream of pictures in the making."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import openai
import pytest

from tests.e2e.sdks import Stage
from tests.support.fake_upstream import Match
from tests.support.surfaces import send
from tests.support.upstream import mind
from tests.support.upstream.openai_forms import File, form_of
from tests.support.upstream.openai_media import PICTURE, PNG
from tests.support.upstream.script import Answer, Close, Sse, Stall

MODEL = "gpt-image-2"


def test_one_is_made(stage: Stage) -> None:
    answer = stage.sdks.openai.images.generate(model=MODEL, prompt="a red fox", n=2, size="1024x1024")
    assert answer.data is not None
    assert [picture.b64_json for picture in answer.data] == [PICTURE, PICTURE]
    assert answer.usage is not None
    assert answer.usage.output_tokens == 1056
    assert stage.last.path == "/v1/images/generations"
    assert stage.sent == {"model": MODEL, "prompt": "a red fox", "n": 2, "size": "1024x1024"}
    record = stage.gateway.wait_record()
    assert (record.surface, record.model, record.provider, record.status) == ("images", MODEL, "openai", 200)
    assert record.usage is not None
    assert (record.usage.input_tokens, record.usage.output_tokens, record.usage.source) == (
        mind.tokens("a red fox"),
        1056,
        "provider",
    )


def test_pictures_in_the_making_come_one_by_one(stage: Stage) -> None:
    stream = stage.sdks.openai.images.generate(model=MODEL, prompt="a fox", stream=True, partial_images=3)
    events = list(stream)
    assert [event.type for event in events] == ["image_generation.partial_image"] * 3 + [
        "image_generation.completed"
    ]
    assert {event.b64_json for event in events} == {PICTURE}
    record = stage.gateway.wait_record()
    assert (record.stream, record.outcome) == (True, "ok")
    assert record.usage is not None
    assert (record.usage.output_tokens, record.usage.source) == (1056, "provider")
    assert record.first_content


def test_a_picture_of_megabytes_in_one_event(stage: Stage) -> None:
    large = base64.b64encode(bytes(6 * 1024 * 1024)).decode()
    shown = {"b64_json": large, "partial_image_index": 0, "created_at": 1}
    made = {"type": "image_generation.completed", "b64_json": large, "created_at": 1}
    stage.fake.script(
        "/v1/images",
        [
            Sse(
                [
                    (
                        "image_generation.partial_image",
                        {"type": "image_generation.partial_image", **shown},
                    ),
                    ("image_generation.completed", made),
                ]
            )
        ],
    )
    events = list(stage.sdks.openai.images.generate(model=MODEL, prompt="a fox", stream=True))
    assert [len(event.b64_json) for event in events] == [len(large)] * 2


def test_a_stream_that_breaks_says_so(stage: Stage) -> None:
    stage.fake.script("/v1/images", [Answer(events=1), Close()])
    stream = stage.sdks.openai.images.generate(model=MODEL, prompt="a fox", stream=True, partial_images=2)
    seen: list[str] = []
    with pytest.raises(openai.APIError) as caught:
        seen.extend(event.type for event in stream)
    assert seen == ["image_generation.partial_image"]
    assert caught.value.code == "upstream_truncated"
    assert stage.gateway.wait_record().outcome == "error"


def test_a_stream_that_ends_before_its_last_event_is_broken(stage: Stage) -> None:
    stage.fake.script("/v1/images", [Answer(events=2)])
    stream = stage.sdks.openai.images.generate(model=MODEL, prompt="a fox", stream=True, partial_images=2)
    with pytest.raises(openai.APIError) as caught:
        list(stream)
    assert caught.value.code == "upstream_truncated"


def test_who_leaves_ends_the_work_at_the_provider(stage: Stage) -> None:
    stage.fake.script("/v1/images", [Answer(events=1), Stall()])
    stream = stage.sdks.openai.images.generate(model=MODEL, prompt="a fox", stream=True, partial_images=2)
    assert next(iter(stream)).type == "image_generation.partial_image"
    stream.close()
    assert stage.fake.wait_closed(stage.fake.last)
    assert stage.gateway.wait_record().outcome == "client_gone"


@pytest.mark.parametrize("several", [False, True], ids=["one", "several"])
def test_one_is_edited(stage: Stage, several: bool) -> None:
    image: Any = [("a.png", PNG), ("b.png", PNG)] if several else ("fox.png", PNG, "image/png")
    answer = stage.sdks.openai.images.edit(model=MODEL, image=image, prompt="žlutý kůň", mask=("m.png", PNG))
    assert answer.data is not None
    assert answer.data[0].b64_json == PICTURE
    fields = form_of(stage.last)
    assert fields["model"] == [MODEL]
    assert fields["prompt"] == ["žlutý kůň"]
    sent = fields["image[]" if several else "image"]
    assert [file.content for file in sent if isinstance(file, File)] == [PNG] * (2 if several else 1)
    record = stage.gateway.wait_record()
    assert (record.surface, record.model, record.status) == ("image_edits", MODEL, 200)


def test_an_edit_is_streamed(stage: Stage) -> None:
    stream = stage.sdks.openai.images.edit(
        model=MODEL, image=("fox.png", PNG), prompt="a fox", stream=True, partial_images=1
    )
    assert [event.type for event in stream] == ["image_edit.partial_image", "image_edit.completed"]
    record = stage.gateway.wait_record()
    assert record.stream
    assert record.usage is not None
    assert record.usage.source == "provider"


@pytest.mark.usefixtures("tables")
def test_an_edit_in_json(stage: Stage) -> None:
    body = b'{ "model":"gpt-image-2","prompt":"a" ,"images":[{"file_id":"file-1"}]}'
    status, _, raw = send(stage.gateway, "POST", "/v1/images/edits", body)
    assert status == 200, raw
    assert stage.fake.last.body == body


def test_variations(stage: Stage) -> None:
    # OpenAI has retired it; servers like it have not.
    with pytest.deprecated_call():
        answer = stage.sdks.openai.images.create_variation(model=MODEL, image=("fox.png", PNG), n=2)
    assert answer.data is not None
    assert len(answer.data) == 2


def test_another_name_at_the_provider_is_spliced(stage: Stage) -> None:
    gateway = stage.gateway
    openai_provider = gateway.provider("openai")
    route = gateway.route("pictures", openai_provider)
    target = route.targets[0]
    gateway.use(
        gateway.snapshot(
            [replace(route, targets=(replace(target, upstream_model=MODEL, body_patch={"quality": "low"}),))]
        )
    )
    stage.sdks.openai.images.generate(model="pictures", prompt="a fox")
    assert stage.sent == {"model": MODEL, "prompt": "a fox", "quality": "low"}
    stage.sdks.openai.images.edit(model="pictures", image=("fox.png", PNG), prompt="a fox", quality="high")
    fields = form_of(stage.last)
    assert (fields["model"], fields["quality"], fields["prompt"]) == ([MODEL], ["low"], ["a fox"])


@pytest.mark.parametrize("model", ["claude-opus-4-5", "llama3.2"])
def test_who_has_no_images_says_so(stage: Stage, model: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        stage.sdks.openai.images.generate(model=model, prompt="a fox")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as caught:
        stage.sdks.openai.images.edit(model=model, image=("fox.png", PNG), prompt="a fox")
    assert caught.value.code == "model_not_found"
    assert stage.fake.requests == []


def test_the_providers_refusal_is_the_clients(stage: Stage) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        stage.sdks.openai.images.edit(model=MODEL, image=("fox.png", b"no picture"), prompt="a fox")
    assert "Invalid image file" in caught.value.message
    assert caught.value.param == "image"


def test_another_target_takes_over(stage: Stage) -> None:
    gateway = stage.gateway
    one = gateway.provider("openai", name="one", base_url=gateway.fake.named("one") + "/v1")
    two = gateway.provider("openai", name="two", base_url=gateway.fake.named("two") + "/v1")
    gateway.use(gateway.snapshot([gateway.route("gpt-*", one, two)]))
    stage.fake.script(Match(path="/one/"), [Close()])
    answer = stage.sdks.openai.images.edit(model=MODEL, image=("fox.png", PNG), prompt="a fox")
    assert answer.data is not None
    record = gateway.wait_record()
    assert [attempt.provider for attempt in record.attempts] == ["one", "two"]
    assert {request.body for request in stage.fake.requests} == {stage.fake.last.body}
