"""AUTOMATIC1111's API on the one queue: mapping, replies, errors, settings, progress."""

import asyncio
import base64
import json
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from tests.integration.a1111_client import API, get, picture, post, seen
from tests.integration.serving import Focal

# What an A1111 task is, in the terms of the generate endpoint.
PLAIN = {"style_selections": [], "negative_prompt": "", "metadata_scheme": "a1111"}


async def bytes_of(focal: Focal, url: str) -> bytes:
    async with focal.session.get(url) as answer:
        assert answer.status == 200
        return await answer.read()


async def progress_once(focal: Focal, wanted: Callable[[Any], bool]) -> Any:
    """The first progress that is as wanted."""
    for _ in range(500):
        if wanted(told := await get(focal, "progress")):
            return told
    raise TimeoutError("there was no such progress")


async def test_its_pictures_are_those_of_the_generate_endpoint(focal: Focal) -> None:
    body = {"prompt": "a cat", "seed": 7, "batch_size": 2, "steps": 9, "width": 512, "height": 640}
    reply = await post(focal, "txt2img", body | {"sampler_name": "Euler a", "cfg_scale": 5})
    same = {"prompt": "a cat", "image_seed": 7, "image_number": 2, "overwrite_step": 9}
    same |= {"overwrite_width": 512, "overwrite_height": 640, "guidance_scale": 5}
    same |= {"sampler_name": "euler_ancestral", "scheduler_name": "normal"}
    record = await focal.generate(PLAIN | same)
    first, second = focal.device.seen
    assert first.request == second.request
    for mine, other in zip(reply["images"], record["result"], strict=True):
        assert base64.b64decode(mine) == await bytes_of(focal, other)


async def test_the_reply_repeats_the_request_and_tells_of_the_pictures(focal: Focal) -> None:
    reply = await post(focal, "txt2img", {"prompt": "a cat", "seed": 7, "n_iter": 2})
    assert (reply["parameters"]["prompt"], reply["parameters"]["n_iter"]) == ("a cat", 2)
    info = json.loads(reply["info"])
    assert (info["seed"], info["all_seeds"]) == (7, [7, 8])
    assert info["all_prompts"] == ["a cat", "a cat"]
    assert len(info["infotexts"]) == len(reply["images"]) == 2
    assert (info["width"], info["height"], info["sd_model_name"]) == (8, 8, "embedded")


async def test_its_tasks_stand_in_the_history_under_its_name(focal: Focal) -> None:
    await post(focal, "txt2img", {"prompt": "a cat"})
    (task,) = (await focal.get("/tasks"))["history"]
    assert (task["family"], task["req_params"]["prompt"]) == ("a1111", "a cat")


async def test_without_send_images_the_pictures_are_kept_only(focal: Focal) -> None:
    reply = await post(focal, "txt2img", {"send_images": False})
    assert reply["images"] == []
    assert len((await focal.get("/tasks"))["history"][0]["result"]) == 1


@pytest.mark.parametrize(
    ("body", "sampler", "schedule"),
    [
        ({"sampler_name": "DPM++ 2M Karras"}, "dpmpp_2m", "karras"),
        ({"sampler_name": "DPM++ 2M", "scheduler": "Automatic"}, "dpmpp_2m", "karras"),
        ({"sampler_name": "DPM++ 2M SDE"}, "dpmpp_2m_sde_gpu", "exponential"),
        ({"sampler_index": "Euler", "scheduler": "SGM Uniform"}, "euler", "sgm_uniform"),
        ({"sampler_name": "euler_ancestral", "scheduler": "karras"}, "euler_ancestral", "karras"),
        ({"sampler_name": "DDIM"}, "ddim", "ddim_uniform"),
        ({"sampler_name": "UniPC", "scheduler": "uniform"}, "uni_pc", "normal"),
        ({"sampler_name": "LCM", "scheduler": "Align Your Steps"}, "lcm", "align_your_steps"),
    ],
)
async def test_samplers_go_by_a1111_s_names(
    focal: Focal, body: dict[str, Any], sampler: str, schedule: str
) -> None:
    params = await seen(focal, "txt2img", body)
    assert (params.sampler_name, params.scheduler_name) == (sampler, schedule)


async def test_what_is_left_out_or_null_is_the_preset_s(focal: Focal) -> None:
    body = {"sampler_name": None, "steps": None, "cfg_scale": None, "width": None, "seed": 3}
    await post(focal, "txt2img", body | {"scheduler": "Automatic", "override_settings": None})
    await focal.generate(PLAIN | {"image_seed": 3})
    first, second = focal.device.seen
    assert first.request == second.request


async def test_override_settings_win_over_the_chosen_ones(focal: Focal) -> None:
    await post(focal, "options", {"CLIP_stop_at_last_layers": 3})
    assert (await seen(focal, "txt2img", {})).clip_skip == 3
    settings = {"CLIP_stop_at_last_layers": 4, "sd_vae": "Automatic", "eta_noise_seed_delta": 1}
    settings |= {"sd_model_checkpoint": "embedded [0123abcdef]", "samples_format": "webp"}
    async with focal.session.post(f"{API}/txt2img", json={"override_settings": settings}) as got:
        assert got.headers["X-Ignored-Params"] == "override_settings.eta_noise_seed_delta"
    params = focal.device.seen[-1].params
    assert (params.clip_skip, params.output_format) == (4, "webp")
    assert (params.base_model_name, params.vae_name) == ("embedded", "Default (model)")


async def test_image_to_image_begins_from_the_picture_at_the_size_asked_for(focal: Focal) -> None:
    start = picture(32)
    body = {"init_images": [start], "denoising_strength": 0.4, "seed": 5}
    params = await seen(focal, "img2img", body)
    assert (params.uov_method, params.overwrite_vary_strength) == ("Vary (Strong)", 0.4)
    assert list(focal.device.inputs.values()) == [base64.b64decode(start)]
    params = await seen(focal, "img2img", body | {"width": 64, "height": 128})
    (sent,) = focal.device.inputs.values()
    assert sent != base64.b64decode(start)
    record = (await focal.get("/tasks"))["history"][0]
    await focal.generate(record["req_params"])
    assert focal.device.seen[-1].request == focal.device.seen[-2].request


@pytest.mark.parametrize("mode", [0, 1, 2])
async def test_the_mask_is_brought_to_the_same_size(focal: Focal, mode: int) -> None:
    body: dict[str, Any] = {
        "init_images": [f"data:image/png;base64,{picture(32)}"],
        "mask": picture(32, 255),
    }
    body |= {"width": 64, "height": 128, "resize_mode": mode, "inpainting_fill": 2}
    body |= {"inpainting_mask_invert": 0, "inpaint_full_res": False}
    params = await seen(focal, "img2img", body)
    assert (params.inpaint_strength, params.inpaint_respective_field) == (0.75, 1.0)
    assert params.inpaint_disable_initial_latent
    sizes = {Image.open(BytesIO(data)).size for data in focal.device.inputs.values()}
    assert sizes == {(64, 128)}


async def test_a_second_run_is_an_enhancement_of_the_result(focal: Focal) -> None:
    body = {"enable_hr": True, "hr_scale": 1.5, "denoising_strength": 0.3, "hr_upscaler": "Default"}
    params = await seen(focal, "txt2img", body)
    assert params.enhance_checkbox
    assert (params.enhance_uov_method, params.upscale_multiple) == ("Upscale (Custom)", 1.5)
    assert params.overwrite_upscale_strength == 0.3


REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("txt2img", {"prompt": 7}, 422, "prompt"),
    ("txt2img", {"steps": 0}, 422, "steps"),
    ("txt2img", {"batch_size": 32, "n_iter": 2}, 422, "n_iter"),
    ("txt2img", {"sampler_name": "Nonesuch"}, 404, "Sampler not found: Nonesuch"),
    ("txt2img", {"scheduler": "Nonesuch"}, 404, "Scheduler not found: Nonesuch"),
    ("txt2img", {"styles": ["Nonesuch"]}, 422, "styles"),
    ("txt2img", {"override_settings": {"sd_model_checkpoint": "no"}}, 404, "embedded"),
    ("txt2img", {"override_settings": {"sd_vae": "no"}}, 404, "sd_vae"),
    ("txt2img", {"refiner_checkpoint": "no"}, 404, "installed"),
    ("txt2img", {"script_name": "x/y/z plot"}, 422, "Script not found: x/y/z plot"),
    ("txt2img", {"alwayson_scripts": {"ADetailer": {"args": [True]}}}, 422, "ADetailer"),
    ("txt2img", {"restore_faces": True}, 422, "restore_faces"),
    ("txt2img", {"tiling": True}, 422, "tiling"),
    ("txt2img", {"subseed_strength": 0.5}, 422, "subseed_strength"),
    ("txt2img", {"enable_hr": True, "hr_upscaler": "Latent"}, 404, "Upscaler not found: Latent"),
    ("txt2img", {"enable_hr": True, "hr_second_pass_steps": 5}, 422, "hr_second_pass_steps"),
    ("txt2img", {"enable_hr": True, "denoising_strength": 0}, 422, "denoising_strength"),
    ("img2img", {}, 404, "Init image not found"),
    ("img2img", {"init_images": ["bm90IGEgcGljdHVyZQ=="]}, 500, "init_images"),
    ("img2img", {"init_images": ["?"]}, 422, "init_images"),
    ("img2img", {"init_images": [picture()] * 2}, 422, "one picture"),
    ("img2img", {"init_images": [picture()], "resize_mode": 3}, 422, "resize_mode"),
    ("img2img", {"init_images": [picture()], "mask": picture(8, 0)}, 422, "mask"),
    ("png-info", {"image": "bm90IGEgcGljdHVyZQ=="}, 500, "picture"),
    ("interrogate", {"image": picture(), "model": "blip"}, 422, "model"),
    ("extra-single-image", {"image": picture(), "upscaler_1": "no"}, 404, "Upscaler not found"),
    (
        "extra-single-image",
        {"image": picture(), "upscaler_1": "Default", "upscaling_resize": 3},
        422,
        "upscaling_resize",
    ),
]


@pytest.mark.parametrize(("name", "body", "status", "named"), REFUSED)
async def test_bad_input_is_refused_in_its_own_form_and_leaves_nothing(
    focal: Focal, name: str, body: dict[str, Any], status: int, named: str
) -> None:
    reply = await post(focal, name, body, status)
    assert list(reply) == ["error", "detail", "errors", "body"]
    assert named in reply["errors"]
    await focal.nothing_is_left()


async def test_what_is_no_json_has_its_form_too(focal: Focal) -> None:
    async with focal.session.post(f"{API}/txt2img", data=b"{") as answer:
        assert (answer.status, (await answer.json())["error"]) == (400, "invalid_json")


async def test_a_script_that_is_switched_off_is_no_script(focal: Focal) -> None:
    scripts = {"ADetailer": {"args": [False]}, "ControlNet": {"args": []}}
    assert (await post(focal, "txt2img", {"alwayson_scripts": scripts}))["images"]


async def test_a_failed_task_is_an_error_with_its_reason(focal: Focal) -> None:
    focal.device.failure = RuntimeError("no more paint")
    reply = await post(focal, "txt2img", {}, 500)
    assert reply["error"] == "internal"


async def test_progress_and_interrupt_concern_the_running_task(focal: Focal) -> None:
    idle = await get(focal, "progress")
    assert (idle["progress"], idle["state"]["job_count"], idle["current_image"]) == (0, 0, None)
    focal.device.hold_at_step(3)
    asked = asyncio.create_task(post(focal, "txt2img", {"n_iter": 2, "seed": 1}))
    await focal.started()
    told = await progress_once(focal, lambda told: told["state"]["sampling_step"] == 2)
    assert 0 < told["progress"] < 1
    assert told["eta_relative"] >= 0
    assert (told["state"]["job_count"], told["state"]["sampling_steps"]) == (2, 4)
    assert base64.b64decode(told["current_image"]).startswith(b"\x89PNG")
    bare = await get(focal, "progress", "?skip_current_image=true")
    assert bare["current_image"] is None
    assert await post(focal, "interrupt", None) == {}
    assert (await asked)["images"] == []


async def test_a_client_that_closes_ends_no_task_of_another_api(focal: Focal) -> None:
    focal.device.gate.clear()
    task_id = await focal.queue(prompt="of another")
    await focal.started()
    await post(focal, "interrupt", None)
    await post(focal, "skip", None)
    focal.device.gate.set()
    assert (await focal.ended(task_id))["task_status"] == "finished"


async def test_skip_goes_on_with_the_next_picture(focal: Focal) -> None:
    focal.device.gate.clear()
    asked = asyncio.create_task(post(focal, "txt2img", {"n_iter": 2, "seed": 1}))
    await focal.started()
    await progress_once(focal, lambda told: told["progress"] > 0)
    await post(focal, "skip", None)
    assert await asyncio.to_thread(focal.device.skipped.wait, 10)
    focal.device.gate.set()
    assert len((await asked)["images"]) == 1


async def test_a_repeated_key_joins_the_first_task(focal: Focal) -> None:
    headers = {"Idempotency-Key": "one"}
    replies = []
    for _ in range(2):
        async with focal.session.post(f"{API}/txt2img", json={}, headers=headers) as answer:
            replies.append(await answer.json())
    assert replies[0]["images"] == replies[1]["images"]
    assert len(focal.device.seen) == 1
