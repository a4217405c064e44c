"""webuiapi 0.9.17 against the server whose address is given."""

import base64
import hashlib
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import requests
import webuiapi
from PIL import Image, ImageDraw

URL = sys.argv[1]
WAIT_S = 60
api = webuiapi.WebUIApi(baseurl=f"{URL}/sdapi/v1", sampler="Euler a", steps=6)


def same(images: list[str], body: dict[str, Any]) -> None:
    """These pictures are byte for byte those of the server's own endpoint."""
    record = requests.post(f"{URL}/v1/engine/generate/", json=body, timeout=WAIT_S).json()
    assert len(images) == len(record["result"]), record
    for image, url in zip(images, record["result"], strict=True):
        ours = requests.get(url, timeout=WAIT_S).content
        assert base64.b64decode(image) == ours, hashlib.sha256(ours).hexdigest()


def newest() -> dict[str, Any]:
    """The request of the newest task, in the server's own terms."""
    params = {"query": "history", "page_size": "1"}
    (record,) = requests.get(f"{URL}/tasks", params=params, timeout=WAIT_S).json()["history"]
    assert record["family"] == "a1111", record
    fields: dict[str, Any] = record["req_params"]
    return fields


def lists() -> None:
    assert (api.has_controlnet, api.has_adetailer, api.has_animatediff) == (False, False, False)
    assert api.get_scripts() == {"txt2img": [], "img2img": []}
    assert api.util_get_model_names() == ["embedded"]
    assert "Euler a" in api.util_get_sampler_names()
    assert "karras" in api.util_get_scheduler_names()
    assert [each["name"] for each in api.get_upscalers()][:2] == ["None", "Default"]
    assert api.get_latent_upscale_modes() == []
    assert api.get_sd_vae() == api.get_loras() == api.get_hypernetworks() == []
    assert api.get_face_restorers() == api.get_realesrgan_models() == []
    assert set(api.get_embeddings()) == {"loaded", "skipped"}
    assert api.get_prompt_styles()[0]["name"]
    assert api.get_memory()["ram"]["total"] > 0
    assert api.get_cmd_flags() == {}
    assert api.refresh_checkpoints() == {}


def settings() -> None:
    api.util_set_model("embedded")
    assert api.util_get_current_model() == "embedded"
    before = api.get_options()
    assert api.set_options({"CLIP_stop_at_last_layers": 1}) == {}
    assert api.get_options() == {**before, "CLIP_stop_at_last_layers": 1}
    api.set_options(before)
    assert api.get_options() == before


def text_to_image() -> Image.Image:
    made = api.txt2img(
        prompt="a red star on a blue background", seed=7, width=256, height=256, batch_size=2
    )
    same(
        made.json["images"],
        {
            "prompt": "a red star on a blue background",
            "negative_prompt": "",
            "style_selections": [],
            "image_seed": 7,
            "image_number": 2,
            "overwrite_step": 6,
            "overwrite_width": 256,
            "overwrite_height": 256,
            "guidance_scale": 7.0,
            "sampler_name": "euler_ancestral",
            "scheduler_name": "normal",
            "metadata_scheme": "a1111",
        },
    )
    assert made.image.size == (256, 256)
    assert (made.info["seed"], made.info["all_seeds"]) == (7, [7, 8])
    assert made.info["sampler_name"] == "Euler a"
    assert made.parameters["prompt"] == "a red star on a blue background"
    text = made.info["infotexts"][0]
    assert "Steps: 6, Sampler: Euler a, Seed: 7, Size: 256x256" in text, text
    told = api.png_info(made.image)
    assert told.info == text, (told.info, text)
    assert told.parameters["Seed"] == "7"
    return made.image


def image_to_image(start: Image.Image) -> None:
    made = api.img2img(images=[start], prompt="a green star", seed=5, width=256, height=256)
    assert made.image.size == (made.info["width"], made.info["height"])
    same(made.json["images"], newest())
    wide = api.img2img(
        images=[start], prompt="a star", seed=5, width=320, height=192, resize_mode=1
    )
    same(wide.json["images"], newest())


def inpaint(start: Image.Image) -> None:
    mask = Image.new("L", start.size)
    ImageDraw.Draw(mask).rectangle((64, 64, 192, 192), fill=255)
    made = api.img2img(
        images=[start],
        mask_image=mask.convert("RGB"),
        prompt="a yellow circle",
        seed=5,
        width=256,
        height=256,
        inpainting_fill=1,
    )
    assert newest()["inpaint_mask_image_upload"]
    assert made.image.getpixel((2, 2)) is not None
    same(made.json["images"], newest())


def extras(start: Image.Image) -> None:
    made = api.extra_single_image(image=start, upscaler_1="Default", upscaling_resize=2)
    assert made.image.size == (512, 512), made.image.size
    assert api.extra_single_image(image=start).image.size == start.size


def second_run() -> None:
    made = api.txt2img(
        prompt="a star",
        seed=7,
        width=256,
        height=256,
        enable_hr=True,
        hr_scale=1.5,
        hr_upscaler="Default",
        denoising_strength=0.4,
    )
    assert len(made.images) == 1
    assert made.image.width > 256, made.image.size
    same(made.json["images"], newest())


def progress_and_interrupt() -> None:
    api.util_wait_for_ready(check_interval=0.1)
    results: list[Any] = []

    def ask() -> None:
        results.append(api2.txt2img(prompt="a star", steps=200, n_iter=8, width=512, height=512))

    api2 = webuiapi.WebUIApi(baseurl=f"{URL}/sdapi/v1")
    asking = threading.Thread(target=ask)
    asking.start()
    until = time.monotonic() + WAIT_S
    while (told := api.get_progress())["state"]["sampling_step"] == 0:
        assert time.monotonic() < until, told
    assert 0 <= told["progress"] < 1
    assert told["state"]["job_count"] == 8
    assert api.skip() == {}
    assert api.interrupt() == {}
    asking.join(WAIT_S)
    assert not asking.is_alive()
    assert len(results[0].images) < 8
    told = api.get_progress()
    assert (told["progress"], told["state"]["job_count"]) == (0, 0)


def refusal(ask: Callable[[], object]) -> tuple[int, str]:
    """The status and the body of the error that the client raises."""
    try:
        ask()
    except RuntimeError as error:
        return error.args[0], error.args[1]
    raise AssertionError("it was not refused")


def refusals(start: Image.Image) -> None:
    for ask, status, named in (
        (lambda: api.txt2img(sampler_name="Nonesuch"), 404, "Sampler not found"),
        (lambda: api.txt2img(script_name="x/y/z plot"), 422, "Script not found"),
        (lambda: api.txt2img(restore_faces=True), 422, "restore_faces"),
        (lambda: api.txt2img(steps=0), 422, "steps"),
        (lambda: api.img2img(images=[]), 404, "Init image not found"),
        (lambda: api.txt2img(adetailer=[webuiapi.ADetailer()]), 422, "ADetailer"),
        (lambda: api.img2img(images=[start], inpainting_fill=0, resize_mode=3), 422, "resize_mode"),
    ):
        told, text = refusal(ask)
        assert (told, named in text) == (status, True), text


lists()
settings()
first = text_to_image()
image_to_image(first)
inpaint(first)
extras(first)
second_run()
progress_and_interrupt()
refusals(first)
