"""Fooocus-API's image prompts and enhancements in our terms."""

from typing import Any

import pytest

from handlers.fooocus_api.params import (
    Wanted,
    enhancement,
    image_prompts,
    inpaint_or_outpaint,
    job_type,
    text_to_image,
    to_params,
    upscale_or_vary,
)
from handlers.http.refusal import RequestRefused

PROMPT = {"cn_img": "data", "cn_stop": 0.4, "cn_weight": 1.2, "cn_type": "CPDS"}
BARE = {"cn_img": "other", "cn_stop": 0, "cn_weight": 0, "cn_type": "FaceSwap"}


def made(body: dict[str, Any], fill: Any, **files: bytes) -> Wanted:
    return to_params(body, files, fill)


def test_image_prompts_of_a_list_leave_zeros_to_their_type() -> None:
    wanted = made({"image_prompts": [PROMPT, {"cn_img": None}, BARE]}, text_to_image)
    assert wanted.fields["controlnet_image"] == [
        PROMPT,
        {"cn_img": "other", "cn_type": "FaceSwap"},
    ]


def test_image_prompts_of_a_form_are_numbered_without_gaps() -> None:
    body = {"cn_stop3": 0.0, "cn_type3": "CPDS", "cn_weight1": 1.0, "cn_stop4": None}
    wanted = made(body, image_prompts, cn_img1=b"one", cn_img3=b"three")
    assert wanted.fields["controlnet_image"] == [
        {"cn_img": "", "cn_weight": 1.0},
        {"cn_img": "", "cn_stop": 0.0, "cn_type": "CPDS"},
    ]
    assert wanted.uploads == {
        ("controlnet_image", 0, "cn_img"): b"one",
        ("controlnet_image", 1, "cn_img"): b"three",
    }


def test_image_prompts_with_a_picture_are_mixed_with_its_goal() -> None:
    both = {"image_prompts": [PROMPT], "input_image": "p", "uov_method": "Vary (Subtle)"}
    assert made(both, upscale_or_vary).fields["mixing_image_prompt_and_vary_upscale"] is True
    for fill in (inpaint_or_outpaint, image_prompts):
        assert made(both, fill).fields["mixing_image_prompt_and_inpaint"] is True
    alone = made({"image_prompts": [PROMPT]}, image_prompts)
    assert "mixing_image_prompt_and_inpaint" not in alone.fields
    with pytest.raises(RequestRefused):
        made({"image_prompts": [{"cn_img": "null"}]}, image_prompts)


def test_an_enhancement_has_the_family_s_defaults() -> None:
    body = {"enhance_input_image": "p", "enhance_ctrlnets": [{"enhance_enabled": True}]}
    assert made(body, enhancement).fields == {
        "enhance_input_image": "p",
        "enhance_checkbox": True,
        "enhance_uov_method": "Vary (Strong)",
        "enhance_ctrls": [{"enhance_enabled": True, "enhance_mask_dino_prompt": "face"}],
    }


def test_an_enhancement_s_form_numbers_its_slots() -> None:
    body = {
        "enhance_enabled_1": True,
        "enhance_mask_dino_prompt_1": "hand",
        "enhance_mask_model_3": "u2net",
        "enhance_uov_method": "Disabled",
    }
    wanted = made(body, enhancement, enhance_input_image=b"p")
    assert wanted.fields["enhance_uov_method"] == "Disabled"
    assert wanted.fields["enhance_ctrls"] == [
        {"enhance_enabled": True, "enhance_mask_dino_prompt": "hand"},
        {"enhance_mask_model": "u2net"},
    ]


@pytest.mark.parametrize(
    ("params", "kind"),
    [
        ({}, "Text to Image"),
        ({"controlnet_image": []}, "Text to Image"),
        ({"controlnet_image": [{}]}, "Image Prompt"),
        ({"inpaint_input_image": "x", "controlnet_image": [{}]}, "Image Inpaint or Outpaint"),
        ({"uov_input_image": "x", "uov_method": "Disabled"}, "Text to Image"),
        ({"uov_input_image": "x", "uov_method": "Vary (Subtle)"}, "Image Upscale or Variation"),
        ({"enhance_input_image": "x"}, "Image Enhancement"),
    ],
)
def test_a_record_s_request_tells_the_job_s_type(params: dict[str, object], kind: str) -> None:
    assert job_type(params) == kind
