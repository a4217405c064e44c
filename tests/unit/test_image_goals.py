"""Which pictures of a request count, for what, and how that changes steps and prompts."""

import pytest

from pipeline.request.decode import GenerateParams, params_from
from pipeline.request.goals import (
    Goals,
    Inpaint,
    Upscale,
    Vary,
    denoise_of,
    engine_of,
    inpaint_of,
    native_side,
    read_goals,
    refines_itself,
    steps_of,
    switch_share,
    uov_goal,
    with_addition,
)
from pipeline.request.presets import Preset

PICTURE = "inputs/picture.png"
PROMPT_IMAGE = {"cn_img": PICTURE, "cn_type": "ImagePrompt"}
VARIED = {"uov_input_image": PICTURE, "uov_method": "Vary (Subtle)"}
PAINTED = {"inpaint_input_image": PICTURE, "inpaint_mask_image_upload": PICTURE}


def goals(**fields: object) -> Goals:
    return read_goals(params_from(fields))


def test_without_pictures_there_are_no_goals() -> None:
    assert read_goals(GenerateParams()) == Goals()


def test_the_pictures_decide_in_order() -> None:
    everything = {**VARIED, **PAINTED, "controlnet_image": [PROMPT_IMAGE]}
    enhanced = goals(**everything, enhance_input_image=PICTURE)
    assert enhanced == Goals(enhance=True)
    assert goals(**everything) == Goals(image_prompts=True)
    assert goals(**VARIED, **PAINTED) == Goals(start=Vary(0.5))
    assert isinstance(goals(**PAINTED).start, Inpaint)


def test_a_picture_to_vary_counts_only_with_a_method() -> None:
    ignored = goals(**{**VARIED, "uov_method": "Disabled"}, **PAINTED)
    assert isinstance(ignored.start, Inpaint)
    assert goals(uov_method="Vary (Strong)") == Goals()


@pytest.mark.parametrize(
    ("flags", "start"),
    [
        ({}, type(None)),
        ({"mixing_image_prompt_and_vary_upscale": True}, Vary),
        ({"mixing_image_prompt_and_inpaint": True}, Inpaint),
        (
            {
                "mixing_image_prompt_and_vary_upscale": True,
                "mixing_image_prompt_and_inpaint": True,
            },
            Inpaint,
        ),
    ],
)
def test_mixing_lets_other_pictures_in_beside_image_prompts(
    flags: dict[str, bool], start: type
) -> None:
    mixed = goals(**VARIED, **PAINTED, controlnet_image=[PROMPT_IMAGE], **flags)
    assert mixed.image_prompts
    assert isinstance(mixed.start, start)


@pytest.mark.parametrize(
    ("method", "goal"),
    [
        ("Disabled", None),
        ("Vary (Subtle)", Vary(0.5)),
        ("Vary (Strong)", Vary(0.85)),
        ("Upscale (1.5x)", Upscale(1.5, fast=False, denoise=0.382)),
        ("Upscale (2x)", Upscale(2.0, fast=False, denoise=0.382)),
        ("Upscale (Fast 2x)", Upscale(2.0, fast=True, denoise=0.382)),
        ("Upscale (Custom)", Upscale(3.5, fast=False, denoise=0.382)),
    ],
)
def test_each_method_has_its_goal(method: str, goal: Vary | Upscale | None) -> None:
    assert uov_goal(method, GenerateParams(upscale_multiple=3.5)) == goal


def test_strengths_can_be_overridden() -> None:
    params = GenerateParams(overwrite_vary_strength=0.3, overwrite_upscale_strength=0.2)
    assert uov_goal("Vary (Strong)", params) == Vary(0.3)
    assert denoise_of(uov_goal("Upscale (2x)", params)) == 0.2


def test_outpainting_has_the_strength_and_the_field_of_the_request() -> None:
    params = GenerateParams(inpaint_strength=0.4, inpaint_respective_field=0.2)
    assert denoise_of(inpaint_of(params)) == 0.4
    for more in ({"outpaint_selections": ["Left"]}, {"outpaint_distance": [0, 0, 8, 0]}):
        goal = goals(**PAINTED, inpaint_strength=0.4, inpaint_respective_field=0.2, **more).start
        assert isinstance(goal, Inpaint)
        assert (goal.strength, goal.field) == (0.4, 0.2)


def test_upscaling_takes_fewer_steps() -> None:
    upscale = Upscale(2.0, fast=False, denoise=0.4)
    assert [steps_of(upscale, mode, 30) for mode in ("Quality", "Speed", "Lightning")] == [
        36,
        18,
        4,
    ]
    assert steps_of(Vary(0.5), "Speed", 30) == 30
    assert steps_of(None, "Speed", 30) == 30


def test_a_patched_model_without_a_refiner_goes_on_without_its_patch() -> None:
    patched, plain = Inpaint(engine="v2.6"), Inpaint(engine="None")
    assert refines_itself(engine_of(patched), "None")
    assert switch_share(patched, "None", 0.5) == 0.8
    assert switch_share(patched, "refiner.safetensors", 0.5) == 0.5
    assert switch_share(plain, "None", 0.5) == 0.5
    assert switch_share(None, "None", 0.5) == 0.5


def test_the_additional_prompt_comes_first_and_only_when_painting_in() -> None:
    assert with_addition("a house", "a door", Inpaint()) == "a door\na house"
    assert with_addition("", "a door", Inpaint()) == "a door"
    assert with_addition("a house", "", Inpaint()) == "a house"
    assert with_addition("a house", "a door", Vary(0.5)) == "a house"


def test_a_small_models_side_is_that_of_its_pixels() -> None:
    assert native_side(Preset()) == 1024
    assert native_side(Preset(native_pixels=65536)) == 256
    assert native_side(Preset(native_pixels=60000)) % 64 == 0
