"""Images that models make: between OpenRouter's `images` and Gemini's `inlineData`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dragoman.dialects import ChatDialect, StreamOptions, StreamTranslator
from dragoman.dialects.openai_chat import OpenAIChat, Quirks
from dragoman.dialects.registry import CHAT_NAMES, client_dialect
from dragoman.errors import Unrepresentable
from dragoman.ir import Blob
from dragoman.ir.events import fold
from dragoman.ir.losses import Losses
from tests.properties.cases import decode_stream, each_byte, encode_stream, translate_stream

Json = dict[str, Any]
CHAT: ChatDialect = client_dialect("openai_chat")
GEMINI: ChatDialect = client_dialect("gemini_generate")
OPENROUTER = OpenAIChat(Quirks(images=True))

URL = "data:image/png;base64,iVBORw0KGgo="
INLINE: Json = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
IMAGE: Json = {"type": "image_url", "image_url": {"url": URL}}
SIGNED: Json = {**IMAGE, "extra_content": {"google": {"thought_signature": "c2ln"}}}
HEAD: Json = {"id": "r1", "object": "chat.completion", "created": 0, "model": "m"}
SAID: Json = {"role": "assistant", "content": "Here:"}


def _chat(**message: Any) -> Json:
    choice = {"index": 0, "message": {**SAID, **message}, "finish_reason": "stop"}
    return {**HEAD, "choices": [choice]}


def _chat_stream(*deltas: Json) -> bytes:
    chunks = [{**HEAD, "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks[-1]["choices"][0]["finish_reason"] = "stop"
    frames = [b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks]
    return b"".join(frames) + b"data: [DONE]\n\n"


def _gemini(*parts: Json) -> Json:
    content = {"parts": list(parts), "role": "model"}
    candidate = {"content": content, "finishReason": "STOP", "index": 0}
    return {"candidates": [candidate], "modelVersion": "m", "responseId": "r1"}


def _gemini_stream(*parts: Json) -> bytes:
    frames = [b"data: %b\n\n" % json.dumps(_gemini(part)).encode() for part in parts]
    return b"".join(frames)


def _translate(source: ChatDialect, target: ChatDialect, body: Json) -> Json:
    losses = Losses(target.name)
    found: Any = target.encode_response(source.decode_response(body), losses)
    assert losses.paths == []
    return found


def _parts(wire: bytes) -> list[Json]:
    chunks = [json.loads(line[6:]) for line in wire.splitlines() if line]
    return [chunk["candidates"][0]["content"]["parts"][0] for chunk in chunks]


def _deltas(wire: bytes) -> list[Json]:
    chunks = [json.loads(line[6:]) for line in wire.splitlines() if line and b"[DONE]" not in line]
    return [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]


def test_an_image_of_gemini_reaches_a_chat_client() -> None:
    signed = {**INLINE, "thoughtSignature": "c2ln"}
    parts = ({"text": "Here:"}, INLINE, signed)
    body = _translate(GEMINI, CHAT, _gemini(*parts))

    message = body["choices"][0]["message"]
    assert (message["content"], message["images"]) == ("Here:", [IMAGE, SIGNED])
    wire = translate_stream(GEMINI, CHAT, [_gemini_stream(*parts)])
    said = [delta["images"] for delta in _deltas(wire) if "images" in delta]
    assert said == [[IMAGE], [SIGNED]]
    assert translate_stream(GEMINI, CHAT, each_byte(_gemini_stream(*parts))) == wire


@pytest.mark.parametrize(
    "image", [IMAGE, {**IMAGE, "index": 0}, {"image_url": {"url": URL}}], ids=str
)
def test_an_image_of_openrouter_reaches_a_gemini_client(image: Json) -> None:
    body = _translate(CHAT, GEMINI, _chat(images=[image]))
    wire = _chat_stream(SAID, {"content": "", "images": [image]}, {})

    assert body["candidates"][0]["content"]["parts"] == [{"text": "Here:"}, INLINE]
    told = translate_stream(CHAT, GEMINI, [wire])
    assert _parts(told) == [{"text": "Here:"}, INLINE, {"text": ""}]
    assert translate_stream(CHAT, GEMINI, each_byte(wire)) == told


def test_an_image_by_address_stays_one() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    body = _translate(CHAT, GEMINI, _chat(images=[image]))

    assert body["candidates"][0]["content"]["parts"][1] == {
        "fileData": {"fileUri": "https://example.com/a.png"}
    }


@pytest.mark.parametrize(
    "images",
    [
        [{**IMAGE, "index": 1, "more": 2}, {"image_url": {"url": URL}}],
        [SIGNED, IMAGE],
        ["https://example.com/a.png"],
        [{"type": "svg", "image_url": {"url": URL}}],
    ],
    ids=str,
)
def test_a_chat_answer_keeps_its_images_as_they_came(images: list[Any]) -> None:
    body = _chat(images=images)
    wire = _chat_stream(SAID, {"images": images}, {})

    assert _translate(CHAT, CHAT, body) == body
    written = encode_stream(CHAT, decode_stream(CHAT, [wire]))
    told = [image for delta in _deltas(written) for image in delta.get("images", [])]
    assert told == images


def test_a_stream_holds_the_image_its_body_holds() -> None:
    for dialect, wire in (
        (GEMINI, _gemini_stream({"text": "Here:"}, INLINE)),
        (CHAT, _chat_stream(SAID, {"images": [IMAGE]}, {})),
    ):
        image = fold(decode_stream(dialect, [wire])).choices[0].parts[1]
        assert isinstance(image, Blob)
        assert (image.mime_type, image.content) == ("image/png", "iVBORw0KGgo=")


@pytest.mark.parametrize("client", ["anthropic_messages", "openai_responses", "cohere_chat"])
@pytest.mark.parametrize("provider", ["gemini_generate", "openai_chat"])
def test_an_image_is_lost_aloud_where_answers_have_none(provider: str, client: str) -> None:
    wire = _gemini_stream({"text": "Here:"}, INLINE)
    wire = wire if provider == "gemini_generate" else _chat_stream(SAID, {"images": [IMAGE]}, {})
    source = client_dialect(provider)
    stream = StreamTranslator(source, client_dialect(client), StreamOptions())
    out = bytearray()
    stream.feed(wire, out)
    stream.close(out)

    assert stream.dropped == ["$.image"]
    assert b"iVBOR" not in out


def test_a_film_has_no_place_among_the_images() -> None:
    film = {"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}}
    stream = StreamTranslator(GEMINI, CHAT, StreamOptions())
    out = bytearray()
    stream.feed(_gemini_stream({"text": "Here:"}, film), out)
    losses = Losses(CHAT.name)
    CHAT.encode_response(GEMINI.decode_response(_gemini({"text": "a"}, film)), losses)

    assert stream.dropped == ["$.video"]
    assert b"AAAA" not in out
    assert losses.paths == ["$.candidates[0].content.parts[1]"]


@pytest.mark.parametrize("url", ["https://example.com/a.png", "data:image/svg+xml;base64,AAAA"])
@pytest.mark.parametrize("client", CHAT_NAMES)
def test_no_answer_is_refused_for_its_image(client: str, url: str) -> None:
    response = CHAT.decode_response(_chat(images=[{"image_url": {"url": url}}]))
    losses = Losses(client)
    body = json.dumps(client_dialect(client).encode_response(response, losses))

    is_told = client in ("openai_chat", "gemini_generate")
    assert "Here:" in body
    assert (url.rpartition(",")[2] in body) == is_told
    assert bool(losses.paths) != is_told


# --- requests -----------------------------------------------------------------------------------


def _turns(*said: Json) -> list[Json]:
    return [{"role": "user", "content": "A cat."}, *said, {"role": "user", "content": "Now red."}]


def test_an_image_goes_back_to_gemini_with_its_signature() -> None:
    message = _translate(GEMINI, CHAT, _gemini({**INLINE, "thoughtSignature": "c2ln"}))["choices"][
        0
    ]["message"]
    losses = Losses(GEMINI.name)
    request = CHAT.decode_request({"model": "m", "messages": _turns(message)})
    body: Any = GEMINI.encode_request(request, losses)

    assert body["contents"][1]["parts"] == [{**INLINE, "thoughtSignature": "c2ln"}]
    assert losses.paths == []


def test_an_image_goes_back_where_it_is_taken_and_nowhere_else() -> None:
    contents = [
        {"role": "user", "parts": [{"text": "A cat."}]},
        {"role": "model", "parts": [{"text": "Here:"}, INLINE]},
        {"role": "user", "parts": [{"text": "Now red."}]},
    ]
    request = GEMINI.decode_request({"contents": contents})
    body = OPENROUTER.encode_request(request, Losses(CHAT.name))

    assert body["messages"][1] == {**SAID, "images": [IMAGE]}
    with pytest.raises(Unrepresentable) as refusal:
        CHAT.encode_request(request, Losses(CHAT.name))
    assert refusal.value.path == "$.contents[1].parts[1]"


def test_images_are_asked_for_where_they_are_made() -> None:
    chat = {"model": "m", "messages": _turns(), "modalities": ["image", "text"]}
    config = {"responseModalities": ["Text", "IMAGE"]}
    gemini = {"contents": [{"parts": [{"text": "A cat."}]}], "generationConfig": config}
    from_chat, from_gemini = CHAT.decode_request(chat), GEMINI.decode_request(gemini)
    told: Any = GEMINI.encode_request(from_chat, Losses(GEMINI.name))

    assert told["generationConfig"] == {"responseModalities": ["IMAGE", "TEXT"]}
    asked = OPENROUTER.encode_request(from_gemini, Losses(CHAT.name))
    assert asked["modalities"] == ["text", "image"]
    assert OPENROUTER.encode_request(from_chat, Losses(CHAT.name)) == chat
    assert GEMINI.encode_request(from_gemini, Losses(GEMINI.name)) == gemini
    for name in ("anthropic_messages", "openai_chat", "bedrock_converse", "openai_responses"):
        with pytest.raises(Unrepresentable) as refusal:
            client_dialect(name).encode_request(from_gemini, Losses(name))
        assert refusal.value.path == "$.generationConfig.responseModalities"
