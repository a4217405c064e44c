"""AUTOMATIC1111's API on the one queue: mapping, replies, errors, settings, progress."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.images.encode import encode_image
from tests.integration.serving import GENERATE, Focal, serve

API = "/sdapi/v1"
# What an A1111 task is, in the terms of the generate endpoint.
PLAIN = {"style_selections": [], "negative_prompt": "", "metadata_scheme": "a1111"}


async def post(focal: Focal, name: str, body: object, status: int = 200) -> Any:
    async with focal.session.post(f"{API}/{name}", json=body) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def get(focal: Focal, name: str, query: str = "") -> Any:
    return await focal.get(f"{API}/{name}{query}")


async def seen(focal: Focal, name: str, body: dict[str, Any]) -> Any:
    """The parameters of the task that a request makes."""
    await post(focal, name, body)
    return focal.device.seen[-1].params


async def bytes_of(focal: Focal, url: str) -> bytes:
    async with focal.session.get(url) as answer:
        assert answer.status == 200
        return await answer.read()


def basic(user: str, password: str) -> dict[str, str]:
    """The header of HTTP Basic."""
    sent = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {sent}"}


async def progress_once(focal: Focal, wanted: Callable[[Any], bool]) -> Any:
    """The first progress that is as wanted."""
    for _ in range(500):
        if wanted(told := await get(focal, "progress")):
            return told
    raise TimeoutError("there was no such progress")


def picture(size: int = 8, value: int = 9) -> str:
    buffer = BytesIO()
    Image.new("RGB", (size, size), (value,) * 3).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


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


async def test_every_listed_sampler_and_schedule_is_taken(focal: Focal) -> None:
    for sampler in await get(focal, "samplers"):
        for name in (sampler["name"], *sampler["aliases"]):
            params = await seen(focal, "txt2img", {"sampler_name": name})
            assert params.scheduler_name == sampler["options"]["scheduler"]
    for scheduler in await get(focal, "schedulers"):
        for name in (scheduler["name"], scheduler["label"]):
            params = await seen(focal, "txt2img", {"sampler_name": "Euler", "scheduler": name})
            expected = "normal" if scheduler["name"] == "automatic" else scheduler["name"]
            assert params.scheduler_name == expected


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


async def test_settings_can_be_sent_back_whole(focal: Focal) -> None:
    settings = await get(focal, "options")
    assert settings["sd_model_checkpoint"] == "embedded"
    title = (await get(focal, "sd-models"))[0]["title"]
    assert await post(focal, "options", settings | {"sd_model_checkpoint": title}) == {}
    assert await get(focal, "options") == settings
    refused = await post(focal, "options", {"sd_model_checkpoint": "no.safetensors"}, 404)
    assert refused["error"] == "model_not_found"


async def test_settings_are_chosen_for_one_key(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in "ab"}
    keys.write_text("".join(f'[{n}]\nsha256 = "{d}"\n' for n, d in digests.items()))
    async with serve(tmp_path, api_key_file=str(keys)) as focal:
        for name, layer in (("a", 5), ("b", 2)):
            headers = basic("anybody", name)
            if name == "a":
                body = {"CLIP_stop_at_last_layers": 5}
                async with focal.session.post(
                    f"{API}/options", json=body, headers=headers
                ) as answer:
                    assert answer.status == 200
            async with focal.session.get(f"{API}/options", headers=headers) as answer:
                assert (await answer.json())["CLIP_stop_at_last_layers"] == layer


async def test_the_key_may_be_a_basic_password_here_and_nowhere_else(tmp_path: Path) -> None:
    async with serve(tmp_path, api_key="secret") as focal:
        for headers, path, status in (
            ({}, f"{API}/options", 401),
            (basic("me", "wrong"), f"{API}/options", 403),
            (basic("me", "secret"), f"{API}/options", 200),
            (basic("me", "secret"), "/tasks", 401),
        ):
            async with focal.session.get(path, headers=headers) as answer:
                assert answer.status == status, path
        headers = {"Authorization": "Basic ?"}
        async with focal.session.get(f"{API}/options", headers=headers) as answer:
            assert (answer.status, (await answer.json())["error"]) == (401, "unauthorized")


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


TEXT = "a cat\nNegative prompt: a dog\nSteps: 20, Sampler: Euler a, Seed: 5, Size: 512x768"


async def test_png_info_gives_the_text_and_its_entries(focal: Focal) -> None:
    data = encode_image(Image.new("RGB", (8, 8)), "png", TEXT)
    reply = await post(focal, "png-info", {"image": base64.b64encode(data).decode()})
    assert (reply["info"], reply["items"]) == (TEXT, {"parameters": TEXT})
    entries = reply["parameters"]
    assert (entries["Prompt"], entries["Negative prompt"]) == ("a cat", "a dog")
    assert (entries["Sampler"], entries["Size-1"], entries["Size-2"]) == ("Euler a", "512", "768")
    empty = await post(focal, "png-info", {"image": picture()})
    assert empty == {"info": "", "items": {}, "parameters": {}}


async def test_extras_enlarge_by_a_task(focal: Focal) -> None:
    body = {"image": picture(), "upscaler_1": "Default", "upscaling_resize": 2}
    reply = await post(focal, "extra-single-image", body)
    assert base64.b64decode(reply["image"]).startswith(b"\x89PNG")
    assert focal.device.seen[0].params.uov_method == "Upscale (Fast 2x)"
    same = await post(focal, "extra-single-image", {"image": picture()})
    assert base64.b64decode(same["image"]) == base64.b64decode(picture())
    assert len(focal.device.seen) == 1


async def test_a_repeated_key_joins_the_first_task(focal: Focal) -> None:
    headers = {"Idempotency-Key": "one"}
    replies = []
    for _ in range(2):
        async with focal.session.post(f"{API}/txt2img", json={}, headers=headers) as answer:
            replies.append(await answer.json())
    assert replies[0]["images"] == replies[1]["images"]
    assert len(focal.device.seen) == 1


async def test_open_webui_finds_what_it_reads(focal: Focal) -> None:
    settings = await get(focal, "options")
    assert settings["sd_model_checkpoint"]
    for model in await get(focal, "sd-models"):
        assert model["title"]
        assert model["model_name"]
    await post(focal, "options", settings | {"sd_model_checkpoint": "embedded"})
    body = {"prompt": "a cat", "batch_size": 1, "width": 512, "height": 512, "steps": 20}
    reply = await post(focal, "txt2img", body | {"negative_prompt": "a dog"})
    assert base64.b64decode(reply["images"][0])
    assert json.loads(reply["info"])["prompt"] == "a cat"


async def test_sillytavern_finds_what_it_reads(focal: Focal) -> None:
    assert (await get(focal, "options"))["sd_model_checkpoint"]
    assert [each["name"] for each in await get(focal, "upscalers")] == ["None", "Default"]
    assert await get(focal, "latent-upscale-modes") == []
    assert await get(focal, "sd-vae") == []
    assert await get(focal, "sd-modules") == []
    assert "Euler a" in [each["name"] for each in await get(focal, "samplers")]
    assert "karras" in [each["name"] for each in await get(focal, "schedulers")]
    model = (await get(focal, "sd-models"))[0]["title"]
    await post(focal, "options", {"sd_model_checkpoint": model})
    told = await get(focal, "progress")
    assert (told["progress"], told["state"]["job_count"]) == (0, 0)
    body = {
        "prompt": "a cat",
        "negative_prompt": "",
        "sampler_name": "DPM++ 2M",
        "scheduler": "Karras",
        "steps": 20,
        "cfg_scale": 7,
        "width": 512,
        "height": 512,
        "restore_faces": False,
        "enable_hr": False,
        "hr_upscaler": "Latent",
        "hr_scale": 2,
        "hr_additional_modules": [],
        "denoising_strength": 0.7,
        "hr_second_pass_steps": 0,
        "seed": 5,
        "override_settings": {
            "CLIP_stop_at_last_layers": 1,
            "sd_vae": "Automatic",
            "forge_additional_modules": [],
        },
        "override_settings_restore_afterwards": True,
        "clip_skip": 1,
        "save_images": True,
        "send_images": True,
        "do_not_save_grid": False,
        "do_not_save_samples": False,
    }
    reply = await post(focal, "txt2img", body)
    assert len(reply["images"]) == 1
    assert await post(focal, "interrupt", None) == {}


async def test_the_lists_are_answered_in_a1111_s_shapes(focal: Focal) -> None:
    assert await get(focal, "scripts") == {"txt2img": [], "img2img": []}
    assert set(await get(focal, "embeddings")) == {"loaded", "skipped"}
    assert set((await get(focal, "memory"))["ram"]) == {"free", "used", "total"}
    styles = await get(focal, "prompt-styles")
    assert {"name", "prompt", "negative_prompt"} == set(styles[0])
    for name in ("loras", "hypernetworks", "face-restorers", "realesrgan-models", "script-info"):
        assert await get(focal, name) == []
    for name in ("refresh-checkpoints", "refresh-loras", "refresh-vae", "unload-checkpoint"):
        assert await post(focal, name, None) == {}


async def test_its_operations_stand_in_the_document_under_its_tag(focal: Focal) -> None:
    paths = (await focal.get("/openapi.json"))["paths"]
    assert paths[f"{API}/txt2img"]["post"]["tags"] == ["a1111"]
    assert {"basic": []} in paths[f"{API}/txt2img"]["post"]["security"]
    assert "security" not in paths[GENERATE]["post"]
    assert GENERATE in paths
