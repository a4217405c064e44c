"""Pictures that come with a generate request: from wherever, checked, stored once, under a path."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from PIL import Image

from handlers.keys import CLIENT
from pipeline.errors import InvalidParameter
from pipeline.images.encode import encode_image
from pipeline.images.read import open_upright
from tests.integration.serving import Focal, serve

VARY = {"uov_method": "Vary (Subtle)"}


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def grey(level: int = 128, size: tuple[int, int] = (24, 16)) -> bytes:
    return encoded(Image.new("L", size, level))


def data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def stored_as(data: bytes, extension: str = "png") -> str:
    return f"inputs/{hashlib.sha256(data).hexdigest()}.{extension}"


async def elsewhere(request: web.Request) -> web.StreamResponse:
    """Another server, as hostile as the path says."""
    response = web.StreamResponse()
    match request.path:
        case "/picture":
            return web.Response(body=grey(7), content_type="image/png")
        case "/text":
            return web.Response(body=b"<html>no picture</html>", content_type="image/png")
        case "/huge":
            response.headers["Content-Length"] = str(2 * 2**30)
            await response.prepare(request)
        case "/trickle":
            await response.prepare(request)
            for _ in range(1000):
                await response.write(b"x")
                await asyncio.sleep(0.01)
    return response


@pytest_asyncio.fixture
async def other() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{path:.*}", elsewhere)
    async with TestServer(app, host="127.0.0.1") as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.mark.parametrize("wrap", [data_url, lambda data: base64.b64encode(data).decode()])
async def test_a_picture_in_the_request_is_stored_once_under_its_hash(
    focal: Focal, wrap: Any
) -> None:
    picture = grey()
    for _ in range(2):
        record = await focal.generate({**VARY, "uov_input_image": wrap(picture)})
        assert record["req_params"]["uov_input_image"] == f"{focal.url}/{stored_as(picture)}"
    inputs = [name for name in focal.files() if name.startswith("inputs/")]
    assert inputs == [stored_as(picture)]
    async with focal.session.get(record["req_params"]["uov_input_image"]) as answer:
        assert await answer.read() == picture


async def test_the_device_gets_the_path_and_never_the_data(focal: Focal) -> None:
    await focal.generate({**VARY, "uov_input_image": data_url(grey())})
    (task,) = focal.device.seen
    assert task.params.uov_input_image == f"/{stored_as(grey())}"


async def test_image_prompts_are_stored_in_their_places(focal: Focal) -> None:
    one, two = grey(1), grey(2)
    controls = [{"cn_img": data_url(one)}, {"cn_img": ""}, {"cn_img": data_url(two)}]
    record = await focal.generate({"controlnet_image": controls})
    stored = [each["cn_img"] for each in record["req_params"]["controlnet_image"]]
    assert stored == [f"{focal.url}/{stored_as(one)}", "", f"{focal.url}/{stored_as(two)}"]


async def test_results_and_inputs_of_this_server_are_read_from_disk(focal: Focal) -> None:
    made = await focal.generate({"image_seed": 5})
    (url,) = made["result"]
    async with focal.session.get(url) as answer:
        data = await answer.read()
    for value in (url, url.removeprefix(focal.url), f"{focal.url}/{stored_as(data)}"):
        record = await focal.generate({**VARY, "uov_input_image": value})
        assert record["req_params"]["uov_input_image"] == f"{focal.url}/{stored_as(data)}"


async def test_a_picture_of_another_server_is_fetched_where_that_is_allowed(
    tmp_path: Path, other: str
) -> None:
    async with serve(tmp_path, allow_private_urls=True) as focal:
        record = await focal.generate({**VARY, "uov_input_image": f"{other}/picture"})
        assert record["req_params"]["uov_input_image"].endswith(stored_as(grey(7)))


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/text", 415, "picture"),
        ("/huge", 413, "larger than"),
        ("/trickle", 422, "too long"),
    ],
)
async def test_a_hostile_server_gets_a_clear_answer_and_leaves_nothing(
    tmp_path: Path, other: str, path: str, status: int, told: str
) -> None:
    async with serve(tmp_path, allow_private_urls=True) as focal:
        focal.app[CLIENT]._seconds = 0.5
        reply = await focal.generate({**VARY, "uov_input_image": other + path}, status)
        assert told in json.dumps(reply["detail"])
        await focal.nothing_is_left()


async def test_private_addresses_are_refused_by_name(focal: Focal, other: str) -> None:
    for url in (f"{other}/picture", "http://169.254.169.254/x.png", "http://[::1]/x.png"):
        reply = await focal.generate({**VARY, "uov_input_image": url}, 422)
        assert reply["detail"][0]["loc"] == ["body", "uov_input_image"]
        assert "--allow-private-urls" in reply["detail"][0]["msg"]
    await focal.nothing_is_left()


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("uov_input_image", "no base64!", 422),
        ("uov_input_image", "upload:", 422),
        ("uov_input_image", "data:image/png,abc", 422),
        ("uov_input_image", data_url(b"just text"), 415),
        ("uov_input_image", data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), 415),
        ("uov_input_image", data_url(grey()[:50]), 415),
        ("uov_input_image", "/outputs/2026-01-31/2026-01-31_12-00-00_1234.png", 404),
        ("uov_input_image", "/inputs/../outputs/db.sqlite3", 404),
        ("controlnet_image", [{"cn_img": data_url(b"just text")}], 415),
    ],
)
async def test_what_is_no_picture_is_refused_and_leaves_nothing(
    focal: Focal, field: str, value: object, status: int
) -> None:
    vary = VARY if field.startswith("uov") else {}
    reply = await focal.generate({**vary, field: value}, status)
    assert field in json.dumps(reply["detail"])
    await focal.nothing_is_left()


async def test_a_picture_of_too_many_pixels_is_refused_undecoded(focal: Focal) -> None:
    bomb = encoded(Image.new("1", (50_000, 2_000)))
    reply = await focal.generate({**VARY, "uov_input_image": data_url(bomb)}, 413)
    assert reply["code"] == "image_too_large"
    await focal.nothing_is_left()


@pytest.mark.parametrize("size", [(1, 17), (513, 32), (8192, 1)])
@pytest.mark.parametrize("place", ["uov_input_image", "cn_img"])
async def test_a_strip_is_refused_by_the_shape_that_it_has(
    focal: Focal, size: tuple[int, int], place: str
) -> None:
    image = data_url(grey(size=size))
    body: dict[str, Any] = {"controlnet_image": [{"cn_img": image, "cn_type": "ImagePrompt"}]}
    if place == "uov_input_image":
        body = {**VARY, place: image}
    reply = await focal.generate(body, status=422)
    assert reply["detail"][0]["loc"][-1] == place
    assert f"{size[0]}x{size[1]}" in reply["detail"][0]["msg"]
    await focal.nothing_is_left()


async def test_a_shape_within_the_limit_is_taken(focal: Focal) -> None:
    await focal.generate({**VARY, "uov_input_image": data_url(grey(size=(16, 256)))})


async def test_a_full_queue_stores_no_picture(tmp_path: Path) -> None:
    async with serve(tmp_path, queue_size=1) as focal:
        focal.device.gate.clear()
        await focal.queue()
        await focal.started()
        await focal.queue()
        await focal.generate({**VARY, "uov_input_image": data_url(grey())}, 429)
        assert focal.files() == []


def brush(alpha: int) -> bytes:
    """A mask as a canvas gives it: white strokes, or none, on nothing."""
    return encoded(Image.new("RGBA", (32, 32), (255, 255, 255, alpha)))


PAINT = {"inpaint_input_image": data_url(grey(200, (32, 32)))}


@pytest.mark.parametrize(
    ("mask", "more", "told"),
    [
        (grey(0, (32, 32)), {}, "black"),
        (brush(alpha=0), {}, "black"),
        (grey(255, (32, 32)), {"invert_mask_checkbox": True}, "black"),
    ],
)
async def test_a_mask_that_paints_nothing_is_refused(
    focal: Focal, mask: bytes, more: dict[str, Any], told: str
) -> None:
    reply = await focal.generate(
        {**PAINT, "inpaint_mask_image_upload": data_url(mask), **more}, 422
    )
    assert reply["detail"][0]["loc"] == ["body", "inpaint_mask_image_upload"]
    assert told in reply["detail"][0]["msg"]
    await focal.nothing_is_left()


async def test_a_mask_of_another_shape_is_resized_to_the_picture(focal: Focal) -> None:
    mask = data_url(grey(255, (64, 32)))
    await focal.generate({**PAINT, "inpaint_mask_image_upload": mask, "async_process": True}, 200)


@pytest.mark.parametrize(
    ("params", "field"),
    [
        (VARY, "uov_input_image"),
        ({"uov_method": "Upscale (2x)", "uov_input_image": None}, "uov_input_image"),
        ({"inpaint_mask_image_upload": data_url(grey(255))}, "inpaint_input_image"),
        ({"outpaint_selections": ["Left"]}, "inpaint_input_image"),
        ({"outpaint_distance": [0, 8, 0, 0]}, "inpaint_input_image"),
        (PAINT, "inpaint_mask_image_upload"),
    ],
)
async def test_a_picture_that_is_needed_and_not_there_is_asked_for(
    focal: Focal, params: dict[str, Any], field: str
) -> None:
    reply = await focal.generate(params, 422)
    assert reply["detail"][0]["loc"] == ["body", field]
    await focal.nothing_is_left()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "JPEG"), (254, 0, 0)),
        (encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0))), (255, 255, 255)),
        (encoded(Image.new("P", (4, 4), 0)), (0, 0, 0)),
        (encoded(Image.new("I;16", (4, 4), 0x8080)), (128, 128, 128)),
        (encoded(Image.new("1", (4, 4), 1)), (255, 255, 255)),
    ],
)
def test_every_kind_of_picture_is_read_as_rgb(data: bytes, expected: tuple[int, int, int]) -> None:
    pixel = open_upright(data).getpixel((1, 1))
    assert isinstance(pixel, tuple)
    assert all(abs(a - b) <= 2 for a, b in zip(pixel, expected, strict=True))


def test_of_an_animation_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert open_upright(data).getpixel((0, 0)) == (255, 0, 0)


async def test_what_is_painted_on_a_transparent_mask_counts(focal: Focal) -> None:
    await focal.generate({**PAINT, "inpaint_mask_image_upload": data_url(brush(alpha=255))})


def test_a_picture_too_long_for_its_format_says_which_one_holds_it() -> None:
    with pytest.raises(InvalidParameter, match=r"16383.*png"):
        encode_image(Image.new("L", (16_384, 1)), "webp")
