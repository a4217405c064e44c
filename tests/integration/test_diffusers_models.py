"""Models that diffusers' own pipelines run, over HTTP: small random ones of the real classes."""

import base64
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import diffusers
import numpy as np
import pytest
import pytest_asyncio
import torch
from numpy.typing import NDArray
from PIL import Image

from tests.integration.real_engine import fetch, serve_engine
from tests.integration.serving import GENERATE, Focal
from tests.integration.tiny_pipelines import PIPELINES, save_pipeline
from tools.pictures_in.client import data_url

pytestmark = pytest.mark.asyncio(loop_scope="module")

# In make test two stand for all: with a UNet and a step callback for each kind of latents.
FAST = ("sd15", "flux")
EVERY = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in PIPELINES]
GUIDANCE = {"qwen": "true_cfg_scale"}
UNGUIDED = ("flux",)  # takes no negative prompt
STEPS = 2
SEED = 11
PROMPT = "a red boat on the lake"
Pixels = NDArray[np.uint8]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def focal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Focal]:
    async with serve_engine(tmp_path_factory.mktemp("diffusers")) as running:
        yield running


def installed(focal: Focal, name: str) -> str:
    """The name of a pipeline of ``PIPELINES`` in the server's models folder."""
    folder = focal.folder / "models" / "checkpoints" / name
    if not folder.exists():
        save_pipeline(name, folder)
    return name


def asked(focal: Focal, name: str, **more: Any) -> dict[str, Any]:
    return {
        "base_model_name": installed(focal, name),
        "prompt": PROMPT,
        "style_selections": [],
        "overwrite_width": 64,
        "overwrite_height": 64,
        "overwrite_step": STEPS,
        "image_seed": SEED,
        "guidance_scale": 3.0,
        **({} if name in UNGUIDED else {"negative_prompt": "a dog"}),
        "output_format": "png",
        **more,
    }


def bare(focal: Focal, name: str, pipeline: str = "", **arguments: Any) -> Pixels:
    """What the pipeline by itself makes of the same."""
    folder = focal.folder / "models" / "checkpoints" / installed(focal, name)
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder, use_safetensors=True)
    if pipeline:
        pipe = getattr(diffusers, pipeline)(**pipe.components)
    pipe.set_progress_bar_config(disable=True)
    given = {
        "prompt": PROMPT,
        "width": 64,
        "height": 64,
        "num_inference_steps": STEPS,
        GUIDANCE.get(name, "guidance_scale"): 3.0,
        "generator": torch.Generator("cpu").manual_seed(SEED),
        **({} if name in UNGUIDED else {"negative_prompt": "a dog"}),
        **({"use_resolution_binning": False} if name in ("sana", "pixart") else {}),
        **arguments,
    }
    with torch.inference_mode():
        return np.asarray(pipe(**given).images[0])


def pixels(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


async def made(focal: Focal, **request: Any) -> tuple[dict[str, Any], list[bytes]]:
    record = await focal.generate(request)
    assert record["task_status"] == "finished", record
    return record, [await fetch(focal, url) for url in record["result"]]


@pytest.mark.parametrize("name", EVERY)
async def test_a_picture_has_the_bytes_of_the_bare_pipeline_in_all_four_ways(
    focal: Focal, name: str
) -> None:
    request, expected = asked(focal, name), bare(focal, name)
    record, (data,) = await made(focal, **request)
    np.testing.assert_array_equal(pixels(data), expected)
    assert record["notes"]["architecture"]

    ended = await focal.ended(await focal.queue(**request))
    np.testing.assert_array_equal(pixels(await fetch(focal, ended["result"][0])), expected)

    async with focal.session.post(GENERATE, json=request, headers={"Accept": "image/png"}) as reply:
        assert reply.status == 200
        np.testing.assert_array_equal(pixels(await reply.read()), expected)

    async with focal.session.post(GENERATE, json={**request, "stream_output": True}) as reply:
        events = [
            json.loads(line.removeprefix("data: "))
            for line in (await reply.text()).splitlines()
            if line.startswith("data: ")
        ]
    told = [event for event in events if event.get("progress")]
    assert told
    assert any(event.get("preview") for event in events)
    final = await focal.get(f"/tasks/{events[-1]['task_id']}") if "task_id" in events[-1] else None
    if final is not None:
        np.testing.assert_array_equal(pixels(await fetch(focal, final["result"][0])), expected)


@pytest.mark.parametrize("scheme", ["fooocus", "a1111"])
async def test_what_is_read_from_a_picture_makes_it_again(focal: Focal, scheme: str) -> None:
    _, (data,) = await made(focal, **asked(focal, "sd15"), metadata_scheme=scheme)
    async with focal.session.post(
        "/v1/tools/read-metadata", json={"image": base64.b64encode(data).decode()}
    ) as reply:
        assert reply.status == 200, await reply.text()
        read = (await reply.json())["parameters"]
    assert read["base_model_name"] == "sd15"
    again, (second,) = await made(focal, **{**read, "output_format": "png"})
    assert again["task_status"] == "finished"
    np.testing.assert_array_equal(pixels(second), pixels(data))


async def test_images_of_a_task_have_seeds_of_their_own(focal: Focal) -> None:
    _, both = await made(focal, **asked(focal, "sd15"), image_number=2)
    _, (second,) = await made(focal, **asked(focal, "sd15", image_seed=SEED + 1))
    assert not np.array_equal(pixels(both[0]), pixels(both[1]))
    np.testing.assert_array_equal(pixels(both[1]), pixels(second))


async def test_a_task_stops_between_two_steps(focal: Focal) -> None:
    request = asked(focal, "sd15", overwrite_step=200, stream_output=True)
    async with focal.session.post(GENERATE, json=request) as reply:
        async for line in reply.content:
            if b"Sampling step" in line:
                break
        (task,) = (await focal.get("/tasks"))["current"]
        await focal.control(action="stop", task_id=task["task_id"])
        record = await focal.ended(task["task_id"])
    assert record["task_status"] == "stop"
    assert record["result"] == []


async def test_sizes_are_whole_cells_of_the_model_and_told(focal: Focal) -> None:
    record, (data,) = await made(
        focal, **asked(focal, "sana", overwrite_width=100, overwrite_height=70)
    )
    assert pixels(data).shape == (64, 96, 3)
    assert record["notes"]["size"] == "asked 100x70, made 96x64 (whole latents of 32 pixels)"


@pytest.mark.parametrize(
    ("name", "pipeline"),
    [
        ("sd15", "StableDiffusionImg2ImgPipeline"),
        pytest.param("sd3", "StableDiffusion3Img2ImgPipeline", marks=pytest.mark.slow),
        pytest.param("flux", "FluxImg2ImgPipeline", marks=pytest.mark.slow),
        pytest.param("chroma", "ChromaImg2ImgPipeline", marks=pytest.mark.slow),
        pytest.param("qwen", "QwenImageImg2ImgPipeline", marks=pytest.mark.slow),
        pytest.param("zimage", "ZImageImg2ImgPipeline", marks=pytest.mark.slow),
    ],
)
async def test_varying_is_the_models_own_image_to_image(
    focal: Focal, name: str, pipeline: str
) -> None:
    image = picture()
    request = asked(
        focal,
        name,
        uov_method="Vary (Subtle)",
        uov_input_image=data_url(image),
        overwrite_vary_strength=0.5,
    )
    _, (data,) = await made(focal, **request)
    expected = bare(focal, name, pipeline, image=image, strength=0.5, num_inference_steps=2 * STEPS)
    np.testing.assert_array_equal(pixels(data), expected)


@pytest.mark.parametrize(
    "name",
    ["sd15", *(pytest.param(n, marks=pytest.mark.slow) for n in ("sd3", "flux", "qwen", "zimage"))],
)
async def test_inpainting_leaves_what_is_far_from_the_mask(focal: Focal, name: str) -> None:
    image, mask = picture(128), np.zeros((128, 128), np.uint8)
    mask[40:60, 40:60] = 255
    request = asked(
        focal,
        name,
        inpaint_input_image=data_url(image),
        inpaint_mask_image_upload=data_url(Image.fromarray(mask)),
    )
    _, (data,) = await made(focal, **request)
    painted, given = pixels(data), np.asarray(image)
    assert painted.shape == given.shape
    np.testing.assert_array_equal(painted[100:], given[100:])
    assert np.abs(painted[45:55, 45:55].astype(int) - given[45:55, 45:55]).mean() > 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("refiner_model_name", "embedded"),
        ("vae_name", "other.safetensors"),
        ("loras", [{"model_name": "a.safetensors", "weight": 1}]),
        ("freeu_enabled", True),
        ("enhance_checkbox", True),
    ],
)
async def test_what_the_model_cannot_do_is_refused_by_name(
    focal: Focal, field: str, value: Any
) -> None:
    reply = await focal.generate({**asked(focal, "sd15"), field: value}, status=422)
    assert field in json.dumps(reply)
    assert "sd15 (Stable Diffusion 1 and 2)" in json.dumps(reply)


async def test_image_inputs_of_a_model_without_a_twin_are_refused(focal: Focal) -> None:
    request = asked(focal, "sana", uov_method="Vary (Subtle)", uov_input_image=data_url(picture()))
    reply = await focal.generate(request, status=422)
    assert "uov_input_image" in json.dumps(reply)
    assert "Sana" in json.dumps(reply)


async def test_settings_that_do_nothing_are_told(focal: Focal) -> None:
    record, _ = await made(
        focal, **asked(focal, "flux", sharpness=9.0, sampler_name="euler", clip_skip=1)
    )
    told = record["notes"]["unused_parameters"]
    assert told == "flux (Flux.1) does not use sharpness, clip_skip, sampler_name"


async def test_models_say_which_parameters_act(focal: Focal) -> None:
    installed(focal, "sd15")
    installed(focal, "sana")
    listed = {each["name"]: each for each in (await focal.get("/v1/models"))["checkpoints"]}
    assert listed["sana"]["architecture"] == "Sana"
    assert "uov_input_image" in listed["sd15"]["parameters"]
    assert "guidance_rescale" in listed["sd15"]["parameters"]
    assert not {"uov_input_image", "clip_skip", "sharpness"} & set(listed["sana"]["parameters"])
    assert "parameters" not in listed["embedded"]  # all act


async def test_a_folder_that_is_not_whole_says_what_is_missing(focal: Focal) -> None:
    folder = save_pipeline("flux", focal.folder / "models" / "checkpoints" / "broken")
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "text_encoder" / "config.json").unlink()
    request = {**asked(focal, "flux"), "base_model_name": "broken"}
    reply = await focal.generate(request, status=500)
    assert reply["code"] == "invalid_model_file"
    assert "transformer: its weights are missing" in reply["error"]
    assert "text_encoder: config.json is missing" in reply["error"]


async def test_sdxl_and_others_take_turns(focal: Focal) -> None:
    sdxl = {"prompt": PROMPT, "image_seed": 1, "overwrite_step": 2, "style_selections": []}
    _, (first,) = await made(focal, **sdxl)
    _, (other,) = await made(focal, **asked(focal, "sd15"))
    _, (again,) = await made(focal, **sdxl)
    np.testing.assert_array_equal(pixels(first), pixels(again))
    np.testing.assert_array_equal(pixels(other), bare(focal, "sd15"))


async def test_a_request_made_again_has_the_same_notes(focal: Focal) -> None:
    first, (data,) = await made(focal, **asked(focal, "sd15"))
    again, (second,) = await made(focal, **first["req_params"])
    np.testing.assert_array_equal(pixels(second), pixels(data))
    assert again["notes"].get("unused_parameters", "").count("inpaint_engine") == 0


def picture(side: int = 64) -> Image.Image:
    rows, columns = np.mgrid[0:side, 0:side]
    waves = [np.sin(columns / 5), np.cos(rows / 7), np.sin((rows + columns) / 3)]
    return Image.fromarray((np.stack(waves, axis=-1) * 120 + 127).astype(np.uint8))
