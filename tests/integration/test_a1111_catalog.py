"""What A1111's clients read beside pictures: lists, settings, PNG info, extras."""

import base64
import hashlib
import json
from pathlib import Path

from PIL import Image

from pipeline.images.encode import encode_image
from tests.integration.a1111_client import API, get, picture, post, seen
from tests.integration.serving import GENERATE, Focal, serve


def basic(user: str, password: str) -> dict[str, str]:
    """The header of HTTP Basic."""
    sent = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {sent}"}


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
