"""The lists of models in both shapes: what this key may use, by name, however odd the name."""

from __future__ import annotations

from typing import Any

import pytest

from apiv1.tests.wire import Header, Reply, Wire
from dialects.types import ModelFacts
from routing.snapshot import CatalogueModel, Snapshot
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import checked

ANTHROPIC: list[Header] = [("anthropic-version", "2023-06-01")]
ODD_NAMES = [
    "org/model",
    "llama3.2:3b-q4",
    "models/a/b:c",
    "ft:gpt-4o:acme::x1",
    "50%25off",
    "a b",
    "žluť",
    "a+b",
]


def get(live: LiveGateway, path: str, headers: list[Header] | None = None) -> Reply:
    with Wire(live) as wire:
        wire.head("GET", path, headers or [])
        return wire.reply("GET")


def snapshot(live: LiveGateway, **changes: Any) -> Snapshot:
    """Exact routes with odd names, and prefixes over a small catalogue."""
    openai, anthropic, ollama = map(live.provider, ("openai", "anthropic", "ollama"))
    routes = [live.route(name, ollama) for name in ODD_NAMES]
    routes += [live.route("gpt-*", openai), live.route("claude-*", anthropic), live.route("*", ollama)]
    names = [("openai", "gpt-4o"), ("openai", "gpt-4o-mini"), ("openai", "dall-e-3"),
             ("anthropic", "claude-opus-4-5"), ("ollama", "llama3.2"), ("ollama", "gpt-oss"),
             ("ollama", "gemma*")]  # fmt: skip
    catalogue = {key: CatalogueModel(key[0], ModelFacts(name=key[1])) for key in names}
    return live.snapshot(routes, catalogue=catalogue, **changes)


def test_the_openai_list(live: LiveGateway) -> None:
    live.use(snapshot(live))
    body = get(live, "/v1/models").json
    assert body["object"] == "list"
    owners = {model["id"]: model["owned_by"] for model in body["data"]}
    assert list(owners) == sorted(owners)
    # `gpt-oss` is Ollama's, but `gpt-*` goes to OpenAI, which does not have it; `dall-e-3` is not routed.
    expected = {
        "gpt-4o": "openai",
        "gpt-4o-mini": "openai",
        "claude-opus-4-5": "anthropic",
        "llama3.2": "ollama",
    }
    assert owners == expected | dict.fromkeys(ODD_NAMES, "ollama")
    assert all(set(model) == {"id", "object", "created", "owned_by"} for model in body["data"])
    assert all(type(model["created"]) is int for model in body["data"])


def test_the_anthropic_list(live: LiveGateway) -> None:
    live.use(snapshot(live))
    body = get(live, "/v1/models", ANTHROPIC).json
    ids = [model["id"] for model in body["data"]]
    assert ids == sorted(ids)
    assert set(ids) >= {"gpt-4o", "claude-opus-4-5", "llama3.2"}
    assert (body["first_id"], body["last_id"], body["has_more"]) == (ids[0], ids[-1], False)
    assert all(
        set(model) == {"type", "id", "display_name", "created_at", "lifecycle"} for model in body["data"]
    )


def test_a_key_sees_what_it_may_use(live: LiveGateway) -> None:
    live.use(snapshot(live, key={"allowed_models": ("claude-*", "gpt-4o")}))
    ids = [model["id"] for model in get(live, "/v1/models").json["data"]]
    assert ids == ["claude-opus-4-5", "gpt-4o"]
    assert get(live, "/v1/models/gpt-4o").status == 200
    assert get(live, "/v1/models/gpt-4o-mini").status == 404


def test_a_provider_that_is_off_offers_nothing(live: LiveGateway) -> None:
    live.use(live.snapshot([live.route("gpt-4o", live.provider("openai", enabled=False))]))
    assert get(live, "/v1/models").json["data"] == []
    assert get(live, "/v1/models/gpt-4o").status == 404


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_model_by_its_name(live: LiveGateway, name: str) -> None:
    """As SDKs write it into the address: whole, or with everything escaped that can be."""
    live.use(live.snapshot([live.route(name, live.provider("ollama"))]))
    escaped = "".join(f"%{byte:02X}" for byte in name.encode())
    paths = [escaped] if {"%", " "} & set(name) or not name.isascii() else [name, escaped]
    for path in paths:
        reply = get(live, f"/v1/models/{path}")
        assert reply.status == 200
        assert reply.json == {"id": name, "object": "model", "created": 0, "owned_by": "ollama"}
        assert get(live, f"/v1/models/{path}", ANTHROPIC).json["id"] == name


def test_an_escaped_name_is_unescaped_once(live: LiveGateway) -> None:
    live.use(live.snapshot([live.route("a%41", live.provider("ollama"))]))
    assert get(live, "/v1/models/a%2541").json["id"] == "a%41"
    assert get(live, "/v1/models/a%41").status == 404


@pytest.mark.parametrize("name", ["nothing", "..", "../health", "%00", "%ff%fe", "x" * 5000])
def test_an_unknown_model_is_a_404_in_the_clients_shape(live: LiveGateway, name: str) -> None:
    live.use(live.snapshot([live.route("gpt-4o", live.provider("openai"))]))
    reply = get(live, f"/v1/models/{name}")
    assert (reply.status, checked("chat", reply.json)["code"]) == (404, "model_not_found")
    assert len(reply.body) < 2000
    reply = get(live, f"/v1/models/{name}", ANTHROPIC)
    assert (reply.status, checked("messages", reply.json)["type"]) == (404, "not_found_error")


def test_pages_in_anthropics_way(live: LiveGateway) -> None:
    names = [f"m-{number:02}" for number in range(25)]
    live.use(live.snapshot([live.route(name, live.provider("ollama")) for name in names]))
    seen: list[str] = []
    after = ""
    while True:
        body = get(live, f"/v1/models?limit=10{after}", ANTHROPIC).json
        ids = [model["id"] for model in body["data"]]
        assert (body["first_id"], body["last_id"]) == (ids[0], ids[-1])
        seen += ids
        if not body["has_more"]:
            break
        after = f"&after_id={ids[-1]}"
    assert seen == names
    body = get(live, "/v1/models?limit=10&before_id=m-05", ANTHROPIC).json
    assert [model["id"] for model in body["data"]] == names[:5]
    assert body["has_more"] is False
    body = get(live, "/v1/models?limit=3&before_id=m-05", ANTHROPIC).json
    assert [model["id"] for model in body["data"]] == names[2:5]
    assert body["has_more"] is True
    body = get(live, "/v1/models?after_id=m-24", ANTHROPIC).json
    assert (body["data"], body["has_more"], body["first_id"], body["last_id"]) == ([], False, None, None)


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=-1", "limit=1001", "limit=many", "limit=0000000011234", "limit=\u0665",
     "limit=000000001" + "0" * 5000, "limit=1.5", "after_id=nobody", "before_id=nobody",
     "&".join(f"a{number}=1" for number in range(100))],
)  # fmt: skip
def test_an_odd_page_is_a_400(live: LiveGateway, query: str) -> None:
    live.use(live.snapshot([live.route("m-1", live.provider("ollama"))]))
    path = f"/v1/models?{query}".encode().decode("latin-1") if query.isascii() else "/v1/models?limit=%D9%A5"
    reply = get(live, path, ANTHROPIC)
    assert reply.status == 400
    checked("messages", reply.json)
