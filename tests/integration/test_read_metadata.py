"""From a picture back to the request that makes it again."""

import asyncio
import base64
import hashlib
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image, PngImagePlugin

from bus.events import ModelUnloaded
from bus.subscription import EventFilter
from handlers.keys import BUS, HASHES, INPUTS, OUTPUTS
from pipeline.images.encode import encode_image
from pipeline.scheduling.task import MadeImage
from tests.integration.real_engine import serve_engine
from tests.integration.serving import WAIT_S, Focal, serve

NOTHING: dict[str, Any] = {"scheme": None, "parameters": {}, "text": ""}
FOOCUS_TEXT = json.dumps(
    {
        "adm_guidance": "(1.5, 0.8, 0.3)",
        "base_model": "juggernautXL_v8Rundiffusion",
        "base_model_hash": "aeb7e9e689",
        "full_negative_prompt": ["unrealistic"],
        "full_prompt": ["cinematic still a cat"],
        "guidance_scale": 4,
        "loras": [["sd_xl_offset_example-lora_1.0", 0.1, "4852686128"]],
        "lora_combined_1": "sd_xl_offset_example-lora_1.0 : 0.1",
        "metadata_scheme": "fooocus",
        "negative_prompt": "",
        "performance": "Speed",
        "prompt": "a cat",
        "prompt_expansion": "a cat, intricate",
        "refiner_model": "None",
        "refiner_switch": 0.5,
        "resolution": "(1152, 896)",
        "sampler": "dpmpp_2m_sde_gpu",
        "scheduler": "karras",
        "seed": "1234567890123456789",
        "sharpness": 2,
        "steps": 30,
        "styles": "['Fooocus V2', 'Fooocus Enhance', 'Fooocus Sharp']",
        "vae": "Default (model)",
        "version": "Fooocus v2.5.5",
    }
)
A1111_TEXT = (
    "a cat\nNegative prompt: ugly\nSteps: 25, Sampler: DPM++ 2M, Schedule type: Karras, "
    "CFG scale: 7, Seed: 42, Size: 512x768, Model hash: abc, Model: other, Version: v1.9.0"
)


def data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def grey(output_format: str = "png", text: str | None = None, scheme: str = "fooocus") -> bytes:
    return encode_image(Image.new("RGB", (24, 16), "grey"), output_format, text, scheme)


async def read(focal: Focal, image: object, status: int = 200) -> Any:
    async with focal.session.post("/v1/tools/read-metadata", json={"image": image}) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def fetch(focal: Focal, url: str) -> bytes:
    async with focal.session.get(url.removeprefix(focal.url)) as answer:
        assert answer.status == 200
        return await answer.read()


@pytest.mark.parametrize("output_format", ["png", "jpg", "webp"])
async def test_a_picture_of_fooocus_is_read(focal: Focal, output_format: str) -> None:
    found = await read(focal, data_url(grey(output_format, FOOCUS_TEXT)))
    assert (found["scheme"], found["text"]) == ("fooocus", FOOCUS_TEXT)
    assert (found["width"], found["height"]) == (24, 16)
    assert found["format"] == {"jpg": "jpeg"}.get(output_format, output_format)
    parameters = found["parameters"]
    assert parameters["image_seed"] == 1234567890123456789
    assert parameters["style_selections"] == ["Fooocus V2", "Fooocus Enhance", "Fooocus Sharp"]
    assert parameters["base_model_name"] == "juggernautXL_v8Rundiffusion.safetensors"
    assert parameters["loras"][0]["weight"] == 0.1
    assert parameters["output_format"] == found["format"]


def a1111_jpeg() -> bytes:
    """As A1111 writes it: the comment in the EXIF directory, in UTF-16, and no maker note."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + A1111_TEXT.encode("utf-16-be")
    buffer = io.BytesIO()
    Image.new("RGB", (24, 16)).save(buffer, "JPEG", exif=exif.tobytes())
    return buffer.getvalue()


def a1111_png() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", A1111_TEXT)
    buffer = io.BytesIO()
    Image.new("RGB", (24, 16)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


@pytest.mark.parametrize("picture", [a1111_png(), a1111_jpeg()], ids=["png", "jpeg"])
async def test_a_picture_of_a1111_is_read(focal: Focal, picture: bytes) -> None:
    found = await read(focal, base64.b64encode(picture).decode())
    assert (found["scheme"], found["text"]) == ("a1111", A1111_TEXT)
    parameters = found["parameters"]
    assert parameters["prompt"] == "a cat"
    assert parameters["sampler_name"] == "dpmpp_2m"
    assert parameters["scheduler_name"] == "karras"
    assert parameters["aspect_ratios_selection"] == "512*768"


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
async def test_a_picture_that_says_nothing_is_no_error(focal: Focal, output_format: str) -> None:
    found = await read(focal, data_url(grey(output_format)))
    size = {"width": 24, "height": 16, "format": output_format}
    assert found == NOTHING | size


async def test_a_text_of_something_else_is_shown_and_gives_no_parameters(focal: Focal) -> None:
    found = await read(focal, data_url(grey(text="a holiday by the sea")))
    assert (found["scheme"], found["parameters"]) == (None, {})
    assert found["text"] == "a holiday by the sea"


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
async def test_damaged_exif_says_nothing(focal: Focal) -> None:
    for exif in (b"Exif\0\0", b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff", b"Exif\0\0" + b"\xff" * 40):
        buffer = io.BytesIO()
        Image.new("RGB", (24, 16)).save(buffer, "JPEG", exif=exif)
        assert (await read(focal, data_url(buffer.getvalue())))["scheme"] is None


async def test_a_stored_picture_is_found_by_path_and_by_url(focal: Focal) -> None:
    data = grey(text=FOOCUS_TEXT)
    made = MadeImage(data=data, extension="png", seed=1, width=24, height=16)
    port = focal.url.rpartition(":")[2]
    for path in (focal.app[OUTPUTS].save(made), focal.app[INPUTS].store(data, "png")):
        for image in (path, focal.url + path, f"http://localhost:{port}{path}?token=abc"):
            assert (await read(focal, image))["scheme"] == "fooocus"


async def test_a_stored_picture_is_found_by_the_configured_address(tmp_path: Path) -> None:
    async with serve(tmp_path, base_url="https://pictures.example/focal") as focal:
        path = focal.app[INPUTS].store(grey(text=FOOCUS_TEXT), "png")
        for url in (f"https://Pictures.example:443/focal{path}", focal.url + path):
            assert (await read(focal, url))["scheme"] == "fooocus"


@pytest.mark.parametrize(
    ("image", "status", "code"),
    [
        ("", 422, "invalid_parameter"),
        ("None", 422, "invalid_parameter"),
        (7, 422, "invalid_field"),
        (None, 422, "invalid_parameter"),
        ("no base64!", 422, "invalid_parameter"),
        ("data:image/png,abc", 422, "invalid_parameter"),
        ("http://[::1/outputs/x.png", 422, "invalid_parameter"),
        ("data:image/png;base64,", 415, "unreadable_image"),
        (data_url(b"not a picture"), 415, "unreadable_image"),
        (data_url(grey()[:60]), 415, "unreadable_image"),
        ("/outputs/2026-01-31/2026-01-31_12-00-00_1234.png", 404, "not_found"),
        ("/outputs/../db.sqlite3", 404, "not_found"),
        ("/inputs/..%2f..%2fetc.png", 404, "not_found"),
        ("http://127.0.0.1:1/inputs/a.png", 422, "invalid_parameter"),
    ],
)
async def test_what_cannot_be_read_is_refused_by_name(
    focal: Focal, image: object, status: int, code: str
) -> None:
    answer = await read(focal, image, status)
    assert answer["code"] == code
    if status == 422:
        assert "image" in json.dumps(answer["detail"])


async def test_a_picture_with_too_many_pixels_is_refused(focal: Focal) -> None:
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    assert (await read(focal, data_url(buffer.getvalue()), 413))["code"] == "image_too_large"


async def test_of_two_model_files_of_one_name_the_hash_tells_the_right_one(focal: Focal) -> None:
    for name in ("one", "two"):
        path = focal.folder / "models" / "checkpoints" / name / "same.safetensors"
        path.parent.mkdir(parents=True)
        path.write_bytes(name.encode())
    digest = hashlib.sha256(b"two").hexdigest()[:10]
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", f"a\nSteps: 9, Seed: 5, Model: same, Model hash: {digest}")
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=info)
    await read(focal, data_url(buffer.getvalue()))  # hashes are computed from now on
    assert await asyncio.to_thread(focal.app[HASHES].wait, 20)
    found = await read(focal, data_url(buffer.getvalue()))
    assert found["parameters"]["base_model_name"] == "two/same.safetensors"


async def test_a_text_that_swells_is_refused(focal: Focal) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "x" * 20_000_000, zip=True)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=info)
    assert len(buffer.getvalue()) < 100_000
    await read(focal, data_url(buffer.getvalue()), 415)


async def test_a_body_that_is_no_json_is_refused(focal: Focal) -> None:
    async with focal.session.post("/v1/tools/read-metadata", data=b"{") as answer:
        assert answer.status == 400


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def real(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Focal]:
    async with serve_engine(tmp_path_factory.mktemp("focal")) as focal:
        yield focal


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("scheme", ["fooocus", "a1111"])
@pytest.mark.parametrize(
    "asked",
    [
        {"output_format": "png"},
        {"output_format": "jpg", "image_number": 2, "sampler_name": "euler_ancestral"},
        {
            "output_format": "webp",
            "prompt": 'a (red:1.2) circle, on "blue"\nsecond line, [[with, brackets]]',
            "negative_prompt": "text: none,\nblurry",
            "style_selections": ["Random Style", "Fooocus Enhance"],
            "sampler_name": "dpmpp_2m_sde",
            "scheduler_name": "exponential",
            "aspect_ratios_selection": "320*192",
            "guidance_scale": 3.25,
            "adaptive_cfg": 2.5,
            "clip_skip": 1,
            "adm_scaler_end": 0.7,
            "freeu_enabled": True,
        },
        {"performance_selection": "Lightning", "overwrite_step": -1},
    ],
    ids=["plain", "batch", "rich", "fast"],
)
async def test_the_parameters_read_make_the_same_bytes_again(
    real: Focal, asked: dict[str, Any], scheme: str
) -> None:
    request = {
        "prompt": "a red circle, [[on blue, on green]]",
        "image_seed": 2**53 + 1,
        "overwrite_step": 2,
        "metadata_scheme": scheme,
        **asked,
    }
    for url in (await real.generate(request))["result"]:
        found = await read(real, url)
        assert found["scheme"] == scheme
        again = await real.generate(found["parameters"])
        assert again["task_status"] == "finished", again
        assert await fetch(real, again["result"][0]) == await fetch(real, url)


@pytest.mark.asyncio(loop_scope="module")
async def test_unloading_lets_the_model_go_and_the_next_picture_is_the_same(real: Focal) -> None:
    request = {"prompt": "a red circle", "image_seed": 7, "overwrite_step": 2}
    only_unloaded = EventFilter(types=frozenset({ModelUnloaded.type}))
    pictures = []
    for _ in range(2):
        (url,) = (await real.generate(request))["result"]
        pictures.append(await fetch(real, url))
        with real.app[BUS].subscribe(only_unloaded) as events:
            async with real.session.post("/v1/engine/unload") as answer:
                assert (await answer.json())["models"] == ["embedded"]
            (told,) = await asyncio.wait_for(events.take(), WAIT_S)
        assert told.data == ModelUnloaded(name="embedded", kind="checkpoint", device="fake")
    assert pictures[0] == pictures[1]
