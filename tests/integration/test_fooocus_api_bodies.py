"""Bodies of Fooocus-API: forms and JSON become tasks of ours, or are refused in its form."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from tests.integration.fooocus_api_client import BASE64, MASK, PICTURE, TEXT, V1, WHITE, asked, post
from tests.integration.serving import Focal, serve

V2 = "/v2/generation/"


DATA_URL = f"data:image/png;base64,{BASE64}"


@pytest_asyncio.fixture
async def focal(tmp_path: Path) -> AsyncIterator[Focal]:
    async with serve(tmp_path) as running:
        yield running


async def send(
    focal: Focal,
    path: str,
    fields: dict[str, str] | list[tuple[str, str]],
    files: dict[str, bytes],
    status: int = 200,
) -> Any:
    form = aiohttp.FormData(fields)
    for name, data in files.items():
        form.add_field(name, data, filename=f"{name}.png", content_type="image/png")
    async with focal.session.post(path, data=form) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


# Each kind of job, as a form (v1) and as JSON (v2), and what our endpoint is told.
UOV = {"uov_input_image": BASE64, "uov_method": "Vary (Subtle)"}


PAINTED = {
    "inpaint_input_image": BASE64,
    "inpaint_mask_image_upload": WHITE,
    "inpaint_additional_prompt": "a hat",
    "outpaint_selections": ["Left", "Top"],
    "outpaint_distance": [16, 0, 0, 0],
}


@pytest.mark.parametrize(
    ("name", "fields", "files", "body", "ours"),
    [
        (
            "image-upscale-vary",
            {"uov_method": "Vary (Subtle)", "upscale_value": "", "image_prompts": "x"},
            {"input_image": PICTURE},
            {"uov_method": "Vary (Subtle)", "upscale_value": None, "input_image": DATA_URL},
            UOV,
        ),
        (
            "image-inpaint-outpaint",
            {
                "inpaint_additional_prompt": "a hat",
                "outpaint_selections": "Left,Top",
                "outpaint_distance_left": "16",
                "outpaint_distance_top": "0",
            },
            {"input_image": PICTURE, "input_mask": MASK},
            {
                "input_image": BASE64,
                "input_mask": WHITE,
                "inpaint_additional_prompt": "a hat",
                "outpaint_selections": ["Left", "Top"],
                "outpaint_distance_left": 16,
                "outpaint_distance_right": -1,
            },
            PAINTED,
        ),
    ],
)
async def test_forms_and_json_make_the_same_task_as_our_own_endpoint(
    focal: Focal,
    name: str,
    fields: dict[str, str],
    files: dict[str, bytes],
    body: dict[str, Any],
    ours: dict[str, Any],
) -> None:
    await focal.generate({"prompt": "a", "image_seed": 1, **ours})
    expected = asked(focal)
    await send(focal, V1 + name, {"prompt": "a", "image_seed": "1", **fields}, files)
    assert asked(focal) == expected
    await post(focal, V2 + name, {"prompt": "a", "image_seed": 1, **body})
    assert asked(focal) == expected
    assert sorted(focal.device.inputs.values()) == sorted(files.values())


async def test_a_factor_makes_an_upscale_the_custom_one(focal: Focal) -> None:
    for method, factor, ours in (
        ("Upscale (1.5x)", "3", "Upscale (Custom)"),
        ("Upscale (2x)", "", "Upscale (2x)"),
        ("Upscale (Custom)", "2.5", "Upscale (Custom)"),
        ("Vary (Strong)", "2", "Vary (Strong)"),
    ):
        fields = {"uov_method": method, "upscale_value": factor}
        await send(focal, V1 + "image-upscale-vary", fields, {"input_image": PICTURE})
        params = asked(focal)
        assert params.uov_method == ours
        if ours == "Upscale (Custom)":
            assert params.upscale_multiple == float(factor)


FORM = {
    "style_selections": "Fooocus V2,Fooocus Sharp",
    "async_process": "False",
    "require_base64": "True",
    "guidance_scale": "4.5",
    "loras": '[{"enabled": false, "model_name": "None", "weight": 0.5}]',
    "advanced_params": '{"sampler_name": "euler", "unheard_of": 1}',
    "performance_selection": "",
}


async def test_a_form_s_texts_are_read_as_what_they_mean(focal: Focal) -> None:
    fields = [
        *FORM.items(),
        ("style_selections", "Fooocus Enhance"),
        ("uov_method", "Vary (Strong)"),
    ]
    (image,) = await send(focal, V1 + "image-upscale-vary", fields, {"input_image": PICTURE})
    assert image["base64"].startswith("data:image/png;base64,")
    params = asked(focal)
    assert params.style_selections == ("Fooocus V2", "Fooocus Sharp", "Fooocus Enhance")
    assert (params.guidance_scale, params.sampler_name) == (4.5, "euler")
    assert [lora.enabled for lora in params.loras] == [False]


async def test_advanced_params_that_cannot_be_read_are_left_out_and_named(focal: Focal) -> None:
    for text in ("string", "{", '{"clip_skip": 99}', "[]"):
        form = aiohttp.FormData({"uov_method": "Vary (Subtle)", "advanced_params": text})
        form.add_field("input_image", PICTURE, filename="a.png")
        async with focal.session.post(V1 + "image-upscale-vary", data=form) as answer:
            assert answer.status == 200, await answer.text()
            assert answer.headers["X-Ignored-Params"] == "advanced_params"


@pytest.mark.parametrize("none", ["", "None", "none", "null", "string"])
async def test_what_clients_write_for_no_picture_is_none(focal: Focal, none: str) -> None:
    body = {
        "input_image": BASE64,
        "input_mask": none,
        "outpaint_selections": ["Left"],
        "image_prompts": [{"cn_img": none, "cn_stop": 0, "cn_weight": 0, "cn_type": "CPDS"}],
    }
    await post(focal, V2 + "image-inpaint-outpaint", body)
    params = asked(focal)
    assert (params.inpaint_mask_image_upload, params.controlnet_image) == ("", ())


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (TEXT, {"image_number": 33}, "image_number"),
        (TEXT, {"sharpness": "2"}, "sharpness"),
        (TEXT, {"performance_selection": "Warp"}, "performance_selection"),
        (TEXT, {"style_selections": ["No such style"]}, "style_selections"),
        (TEXT, {"advanced_params": {"sampler_name": "magic"}}, "advanced_params"),
        (TEXT, {"aspect_ratios_selection": "large"}, "aspect_ratios_selection"),
        (TEXT, {"webhook_url": "ftp://a.example"}, "webhook_url"),
        (V2 + "image-upscale-vary", {"input_image": BASE64}, "uov_method"),
        (V2 + "image-upscale-vary", {"uov_method": "Vary (Subtle)"}, "input_image"),
        (V2 + "image-inpaint-outpaint", {"input_image": BASE64}, "input_mask"),
        (V2 + "image-inpaint-outpaint", {}, "input_image"),
        (V2 + "image-prompt", {"image_prompts": []}, "image_prompts"),
        (V2 + "image-enhance", {}, "enhance_input_image"),
    ],
)
async def test_bad_input_is_refused_in_the_family_s_form_and_leaves_nothing(
    focal: Focal, path: str, body: dict[str, Any], field: str
) -> None:
    reply = await post(focal, path, body, 422)
    assert set(reply) == {"detail", "body", "code"}
    named = [part for error in reply["detail"] for part in error["loc"]] or reply["detail"]
    assert field in named or field in str(reply["detail"]), reply
    await focal.nothing_is_left()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"base_model_name": "no-such.safetensors"}, 404),
        ({"loras": [{"enabled": True, "model_name": "no-such.safetensors"}]}, 404),
        ("[", 400),
    ],
)
async def test_other_faults_have_the_family_s_form_too(
    focal: Focal, body: object, status: int
) -> None:
    data = body if isinstance(body, str) else None
    json = None if isinstance(body, str) else body
    async with focal.session.post(TEXT, json=json, data=data) as answer:
        assert answer.status == status
        assert set(await answer.json()) == {"detail", "body", "code"}
    await focal.nothing_is_left()


async def test_a_form_with_a_text_for_a_picture_is_refused(focal: Focal) -> None:
    fields = {"uov_method": "Vary (Subtle)", "input_image": "x.png"}
    reply = await send(focal, V1 + "image-upscale-vary", fields, {}, 422)
    assert reply["detail"][0]["loc"] == ["body", "input_image"]
    reply = await send(focal, V1 + "image-upscale-vary", {}, {"input_image": PICTURE}, 422)
    assert "uov_method" in str(reply["detail"])
    await focal.nothing_is_left()


async def test_a_file_s_name_is_passed_on_as_it_was_written(focal: Focal) -> None:
    path = "/files/T%25%40.%F0%B2%9E%A8/%0D%0AX%3A%20%1C"
    url = URL(focal.url + path, encoded=True)
    async with focal.session.get(url, allow_redirects=False) as answer:
        assert answer.status == 308
        assert answer.headers["Location"] == path.replace("/files/", "../../outputs/")
    async with focal.session.get(url) as answer:
        assert (answer.status, (await answer.json())["code"]) == (404, "not_found")
