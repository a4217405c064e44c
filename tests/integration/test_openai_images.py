"""OpenAI Images: requests give our pictures, replies and streams hold what its clients read."""

import base64
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from PIL import Image

from tests.integration.fake_device import encode
from tests.integration.serving import GENERATE, Focal, serve

CREATE = "/v1/images/generations"
EDIT = "/v1/images/edits"
VARY = "/v1/images/variations"
PICTURE = encode("png", 9)


def transparent(half: bool = True) -> bytes:
    """A picture that is transparent on its left half, or opaque throughout."""
    image = Image.new("RGBA", (8, 8), (200, 100, 50, 255))
    if half:
        image.paste((0, 0, 0, 0), (0, 0, 4, 8))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest_asyncio.fixture
async def focal(tmp_path: Path) -> AsyncIterator[Focal]:
    async with serve(tmp_path) as running:
        yield running


async def post(focal: Focal, body: object, status: int = 200, path: str = CREATE) -> Any:
    async with focal.session.post(path, json=body) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def send(
    focal: Focal,
    path: str,
    fields: dict[str, str],
    files: list[tuple[str, bytes]],
    status: int = 200,
) -> Any:
    form = aiohttp.FormData(fields)
    for name, data in files:
        form.add_field(name, data, filename="a.png", content_type="image/png")
    async with focal.session.post(path, data=form) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def events(focal: Focal, body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The events of a stream: name and data of each."""
    found = []
    async with focal.session.post(CREATE, json={"stream": True, **body}) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        for block in (await answer.text()).split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
            if lines:
                found.append((lines["event"], json.loads(lines["data"])))
    return found


def asked(focal: Focal) -> Any:
    """The parameters of the newest task."""
    return focal.device.seen[-1].params


async def test_pictures_are_those_of_the_generate_endpoint(focal: Focal) -> None:
    reply = await post(focal, {"prompt": "a", "n": 2, "seed": 7, "response_format": "b64_json"})
    record = await focal.generate({"prompt": "a", "image_number": 2, "image_seed": 7})
    assert [each["seed"] for each in reply["data"]] == [7, 8]
    assert isinstance(reply["created"], int)
    assert (reply["output_format"], reply["size"]) == ("png", "8x8")
    assert reply["background"] == "opaque"
    for each, url in zip(reply["data"], record["result"], strict=True):
        async with focal.session.get(url) as answer:
            assert base64.b64decode(each["b64_json"]) == await answer.read()


async def test_the_seed_after_the_largest_is_0(focal: Focal) -> None:
    reply = await post(focal, {"prompt": "a", "n": 2, "seed": 2**63 - 1})
    assert [each["seed"] for each in reply["data"]] == [2**63 - 1, 0]


async def test_urls_are_given_where_they_are_asked_for(focal: Focal) -> None:
    reply = await post(focal, {"prompt": "a", "seed": 3, "response_format": "url"})
    (image,) = reply["data"]
    assert "b64_json" not in image
    async with focal.session.get(image["url"]) as answer:
        assert await answer.read() == encode("png", 3)
    (image,) = (await post(focal, {"prompt": "a", "response_format": None}))["data"]
    assert "url" not in image


async def test_every_field_reaches_the_task_under_our_name(focal: Focal) -> None:
    body = {
        "prompt": "a",
        "model": "embedded",
        "n": 2,
        "size": "320x192",
        "quality": "hd",
        "output_format": "webp",
        "background": "auto",
        "moderation": "low",
        "user": "me",
        "seed": 5,
        "negative_prompt": "b",
        "num_inference_steps": 6,
        "guidance_scale": 3.5,
        "style_selections": ["Fooocus Sharp"],
        "sampler_name": "euler",
        "unheard_of": 1,
    }
    async with focal.session.post(CREATE, json=body) as answer:
        assert answer.status == 200, await answer.text()
        reply = await answer.json()
        ignored = answer.headers["X-Ignored-Params"].split(", ")
        assert answer.headers["X-Task-Id"] == focal.device.seen[-1].task_id
    assert sorted(ignored) == ["moderation", "unheard_of", "user"]
    assert (reply["quality"], reply["output_format"]) == ("high", "webp")
    params = asked(focal)
    assert (params.base_model_name, params.image_number, params.image_seed) == ("embedded", 2, 5)
    assert params.aspect_ratios_selection == "320*192"
    assert (params.performance_selection, params.overwrite_step) == ("Quality", 6)
    assert (params.guidance_scale, params.negative_prompt) == (3.5, "b")
    assert (params.sampler_name, params.style_selections) == ("euler", ("Fooocus Sharp",))


@pytest.mark.parametrize(
    ("size", "made"),
    [
        ("1024x1024", "1024*1024"),
        ("4096x2048", "2048*1024"),
        ("32x64", "64*128"),
        ("auto", "256*256"),
        (None, "256*256"),
    ],
)
async def test_a_size_becomes_the_nearest_that_can_be_made(
    focal: Focal, size: str | None, made: str
) -> None:
    await post(focal, {"prompt": "a", "size": size})
    assert asked(focal).aspect_ratios_selection == made


@pytest.mark.parametrize(
    ("quality", "performance"),
    [("low", "Lightning"), ("medium", "Speed"), ("standard", "Speed"), ("high", "Quality")],
)
async def test_a_quality_is_a_performance(focal: Focal, quality: str, performance: str) -> None:
    await post(focal, {"prompt": "a", "quality": quality})
    assert asked(focal).performance_selection == performance


async def test_a_stream_has_previews_and_then_the_picture(focal: Focal) -> None:
    heard = await events(focal, {"prompt": "a", "seed": 4, "partial_images": 2, "quality": "low"})
    names = [name for name, _ in heard]
    assert names[-1] == "image_generation.completed"
    assert set(names[:-1]) == {"image_generation.partial_image"}
    assert [data["partial_image_index"] for _, data in heard[:-1]] == list(range(len(names) - 1))
    assert len(names) <= 3
    for name, data in heard:
        assert data["type"] == name
        assert data["quality"] == "low"
        assert {"b64_json", "created_at", "size", "background", "output_format"} <= set(data)
    assert base64.b64decode(heard[0][1]["b64_json"]).startswith(b"\x89PNG")
    assert base64.b64decode(heard[-1][1]["b64_json"]) == encode("png", 4)


async def test_a_stream_without_partial_images_is_one_event_a_picture(focal: Focal) -> None:
    for body in ({"partial_images": 0}, {}):
        (heard,) = await events(focal, {"prompt": "a", **body})
        assert heard[0] == "image_generation.completed"
    assert len(await events(focal, {"prompt": "a", "n": 2})) == 2


async def test_a_failure_ends_a_stream_with_an_error(focal: Focal) -> None:
    focal.device.failure = RuntimeError("broken")
    heard = await events(focal, {"prompt": "a", "partial_images": 1})
    name, data = heard[-1]
    assert name == "error"
    assert (data["error"]["type"], data["error"]["code"]) == ("server_error", "internal")


async def test_a_failed_task_is_500_and_not_to_be_repeated(focal: Focal) -> None:
    focal.device.failure = RuntimeError("broken")
    async with focal.session.post(CREATE, json={"prompt": "a"}) as answer:
        assert answer.status == 500
        assert answer.headers["X-Should-Retry"] == "false"
        assert (await answer.json())["error"]["code"] == "internal"


async def test_an_edit_paints_where_the_mask_is_transparent(focal: Focal) -> None:
    fields = {"prompt": "a hat", "seed": "3", "size": "1024x1024"}
    files = [("image", PICTURE), ("mask", transparent())]
    await send(focal, EDIT, fields, files)
    params = asked(focal)
    assert params.prompt == "a hat"
    assert params.uov_method == "Disabled"
    mask = Image.open(io.BytesIO(focal.device.inputs[params.inpaint_mask_image_upload]))
    assert [mask.getpixel((x, 4)) for x in (1, 6)] == [(255,) * 3, (0,) * 3]
    assert focal.device.inputs[params.inpaint_input_image] == PICTURE


async def test_a_picture_s_own_transparency_is_its_mask(focal: Focal) -> None:
    await send(focal, EDIT, {"prompt": "a"}, [("image[]", transparent())])
    assert asked(focal).inpaint_mask_image_upload
    await send(focal, EDIT, {"prompt": "a"}, [("image", transparent(half=False))])
    params = asked(focal)
    assert (params.inpaint_input_image, params.uov_method) == ("", "Vary (Strong)")


async def test_a_variation_is_that_of_our_own_endpoint(focal: Focal) -> None:
    reply = await send(focal, VARY, {"seed": "3", "n": "2"}, [("image", PICTURE)])
    assert len(reply["data"]) == 2
    params = asked(focal)
    encoded = base64.b64encode(PICTURE).decode()
    ours = {"uov_input_image": encoded, "uov_method": "Vary (Strong)"}
    await focal.generate({**ours, "image_seed": 3, "image_number": 2})
    assert asked(focal) == params


async def test_models_are_listed_for_both_kinds_of_clients(focal: Focal) -> None:
    listed = await focal.get("/v1/models")
    assert listed["object"] == "list"
    assert [each["name"] for each in listed["checkpoints"]] == [e["id"] for e in listed["data"]]
    (embedded,) = (each for each in listed["data"] if each["id"] == "embedded")
    assert embedded == {"id": "embedded", "object": "model", "created": 0, "owned_by": "local"}
    assert await focal.get("/v1/models/embedded") == embedded
    missing = await focal.get("/v1/models/a/b.safetensors", 404)
    assert missing["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "prompt"),
        ({"prompt": 1}, 400, "prompt"),
        ({"prompt": "a", "n": 11}, 400, "n"),
        ({"prompt": "a", "size": "large"}, 400, "size"),
        ({"prompt": "a", "quality": "best"}, 400, "quality"),
        ({"prompt": "a", "background": "transparent"}, 400, "background"),
        ({"prompt": "a", "output_compression": 50}, 400, "output_compression"),
        ({"prompt": "a", "seed": -5}, 400, "seed"),
        ({"prompt": "a", "sampler_name": "magic"}, 400, "sampler_name"),
        ({"prompt": "a", "style_selections": ["No such"]}, 400, "style_selections.0"),
        ({"prompt": "a", "model": "gpt-image-1"}, 404, "model"),
    ],
)
async def test_bad_input_is_refused_in_the_family_s_form_and_leaves_nothing(
    focal: Focal, body: dict[str, Any], status: int, param: str
) -> None:
    error = (await post(focal, body, status))["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    if body:
        assert error["param"] == param
    assert param.partition(".")[0] in error["message"] or error["param"] == param
    await focal.nothing_is_left()


async def test_a_body_that_is_wrong_as_a_whole_is_named_so(focal: Focal) -> None:
    error = (await post(focal, [], 400))["error"]
    assert (error["message"], error["param"]) == ("body: Expected `object`, got `array`", "body")


@pytest.mark.parametrize("path", [EDIT, VARY, "/v1/generation/image-prompt", "/upload/image"])
async def test_json_where_a_form_is_wanted_is_told_that_and_not_of_missing_fields(
    focal: Focal, path: str
) -> None:
    reply = await post(focal, {"prompt": "a", "image": "b"}, 400, path)
    assert "not a form: it is application/json" in json.dumps(reply)


@pytest.mark.parametrize(
    ("path", "files", "param"),
    [
        (EDIT, [], "image"),
        (VARY, [], "image"),
        (EDIT, [("image", PICTURE), ("mask", PICTURE)], "mask"),
        (EDIT, [("image[]", PICTURE)] * 6, "image"),
    ],
)
async def test_an_edit_with_wrong_pictures_is_refused(
    focal: Focal, path: str, files: list[tuple[str, bytes]], param: str
) -> None:
    error = (await send(focal, path, {"prompt": "a"}, files, 400))["error"]
    assert error["param"] == param
    await focal.nothing_is_left()


async def test_a_file_that_is_no_picture_is_refused(focal: Focal) -> None:
    for files in ([("image", b"x")], [("image", PICTURE), ("mask", b"x")]):
        error = (await send(focal, EDIT, {"prompt": "a"}, files, 400))["error"]
        assert error["code"] == "unreadable_image"
    await focal.nothing_is_left()


async def test_keys_and_a_full_queue_are_told_in_the_family_s_form(tmp_path: Path) -> None:
    async with serve(tmp_path, api_key="secret", queue_size=1) as focal:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            async with focal.session.post(CREATE, json={}, headers=headers) as answer:
                assert answer.status == 401
                assert (await answer.json())["error"]["code"] == "invalid_api_key"
        key = {"Authorization": "Bearer secret"}
        focal.device.gate.clear()
        for _ in range(2):
            async with focal.session.post(GENERATE, json={"async_process": True}, headers=key):
                pass
            if not focal.device.seen:
                await focal.started()
        async with focal.session.post(CREATE, json={"prompt": "a"}, headers=key) as answer:
            assert answer.status == 429
            assert int(answer.headers["Retry-After"]) > 0
            assert "X-Should-Retry" not in answer.headers
            assert (await answer.json())["error"]["type"] == "rate_limit_error"


async def test_its_tasks_carry_its_name_in_the_one_history(focal: Focal) -> None:
    await post(focal, {"prompt": "a"})
    (record,) = (await focal.get("/tasks"))["history"]
    assert record["family"] == "openai"
