"""Steps, seeds, sizes, prompts and forced settings of planned pictures."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InvalidParameter
from pipeline.request.decode import params_from
from pipeline.request.plan import ImagePlan, plan_images
from pipeline.request.presets import Preset
from pipeline.request.prompts import PromptSources, prompt_loras
from pipeline.request.resolved import resolve_params
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards

EMBEDDED = Preset(
    default_model="embedded",
    native_pixels=65536,
    few_step_lora="",
    available_aspect_ratios=("256*256", "320*192", "192*320"),
)
STYLES = [
    {"name": "wrap", "prompt": "photo of {prompt}", "negative_prompt": "blurry"},
    {"name": "add", "prompt": "sharp", "negative_prompt": ""},
]

LORAS = ["foo.safetensors", "sub/bar.safetensors"]


@pytest.fixture
def sources(tmp_path: Path) -> PromptSources:
    (tmp_path / "styles.json").write_text(json.dumps(STYLES))
    (tmp_path / "color.txt").write_text("red\ngreen\n")
    return PromptSources(StyleLibrary(tmp_path), Wildcards(tmp_path))


def plan(sources: PromptSources, preset: Preset | None = None, **fields: Any) -> list[ImagePlan]:
    fields = {"image_seed": 5, "style_selections": [], "prompt": "a cat", **fields}
    return plan_images(resolve_params(params_from(fields), preset, LORAS), sources)


@pytest.mark.parametrize(
    ("fields", "steps", "switch"),
    [
        ({"performance_selection": "Quality"}, 60, 30),
        ({}, 30, 15),
        ({"refiner_switch": 0.75}, 30, 22),
        ({"refiner_switch": 0.55}, 30, 16),
        ({"overwrite_step": 17}, 17, 15),
        ({"overwrite_switch": 5}, 30, 5),
        ({"performance_selection": "Extreme Speed"}, 8, 8),
        ({"performance_selection": "Lightning"}, 4, 4),
        ({"performance_selection": "Hyper-SD", "overwrite_step": 6}, 6, 4),
    ],
)
def test_steps_and_switch_follow_the_mode_and_the_overrides(
    sources: PromptSources, fields: dict[str, Any], steps: int, switch: int
) -> None:
    made = plan(sources, **fields)[0]
    assert (made.sampling.steps, made.switch) == (steps, switch)


@pytest.mark.parametrize(
    ("mode", "sampler", "scheduler", "lora"),
    [
        ("Extreme Speed", "lcm", "lcm", ("sdxl_lcm_lora.safetensors", 1.0)),
        ("Lightning", "euler", "sgm_uniform", ("sdxl_lightning_4step_lora.safetensors", 1.0)),
        ("Hyper-SD", "dpmpp_sde_gpu", "karras", ("sdxl_hyper_sd_4step_lora.safetensors", 0.8)),
    ],
)
def test_a_fast_mode_forces_its_settings(
    sources: PromptSources, mode: str, sampler: str, scheduler: str, lora: tuple[str, float]
) -> None:
    made = plan(sources, performance_selection=mode, guidance_scale=9, refiner_model_name="r")[0]
    assert (made.sampling.sampler, made.sampling.scheduler, made.loras) == (
        sampler,
        scheduler,
        (lora,),
    )
    assert (
        made.guidance.cfg,
        made.guidance.sharpness,
        made.guidance.adaptive_cfg,
        made.refiner,
    ) == (1.0, 0.0, 1.0, "None")
    assert (
        made.guidance.adm_scaler_positive,
        made.guidance.adm_scaler_negative,
        made.guidance.adm_scaler_end,
    ) == (1.0, 1.0, 0.0)
    assert made.negative_copies_positive


def test_on_a_model_without_such_loras_a_fast_mode_keeps_the_guidance_and_spares_the_noise(
    sources: PromptSources,
) -> None:
    fields = {"performance_selection": "Lightning", "base_model_name": "embedded"}
    made = plan(sources, EMBEDDED, **fields, guidance_scale=5, sampler_name="euler")[0]
    assert (made.sampling.steps, made.guidance.cfg, made.sampling.sampler, made.loras) == (
        4,
        5.0,
        "dpmpp_2m",
        (),
    )
    assert "Lightning" in str(made.notes["performance"])


@pytest.mark.parametrize(
    ("seed", "fixed", "seeds"),
    [
        (5, False, [5, 6, 7]),
        (5, True, [5, 5, 5]),
        (2**63 - 1, False, [2**63 - 1, 0, 1]),
    ],
)
def test_seeds_count_up_and_wrap(
    sources: PromptSources, seed: int, fixed: bool, seeds: list[int]
) -> None:
    plans = plan(sources, image_seed=seed, disable_seed_increment=fixed, image_number=3)
    assert [made.seed for made in plans] == seeds


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, (1152, 896)),
        ({"aspect_ratios_selection": "1001x705"}, (1000, 704)),
        ({"overwrite_width": 192}, (192, 896)),
        ({"overwrite_width": 100, "overwrite_height": 100}, (96, 96)),
    ],
)
def test_a_picture_is_whole_latents(
    sources: PromptSources, fields: dict[str, Any], size: tuple[int, int]
) -> None:
    made = plan(sources, **fields)[0]
    assert (
        (made.size.width, made.size.height)
        == (made.size.native_width, made.size.native_height)
        == size
    )
    assert not made.size.resized


@pytest.mark.parametrize(
    ("asked", "native"),
    [
        ("256*256", (256, 256)),
        ("1152*896", (256, 256)),
        ("1344*768", (320, 192)),
        ("100*700", (192, 320)),
        ("333*200", (320, 192)),
    ],
)
def test_a_model_with_native_sizes_works_at_the_nearest_shape(
    sources: PromptSources, asked: str, native: tuple[int, int]
) -> None:
    made = plan(sources, EMBEDDED, aspect_ratios_selection=asked)[0]
    assert (made.size.native_width, made.size.native_height) == native
    assert f"{made.size.width}*{made.size.height}" == asked
    assert made.size.resized == (asked != "256*256") == ("native_size" in made.notes)


def test_texts_stand_in_the_order_styles_extra_lines(sources: PromptSources) -> None:
    made = plan(
        sources,
        prompt=" a  cat, \n\nsecond.\n",
        negative_prompt="bad\nworse",
        style_selections=["Fooocus V2", "Add", "Wrap"],
    )[0]
    assert made.texts.positives == ("sharp", "photo of a cat", "second")
    assert made.texts.negatives == ("blurry", "bad", "worse")
    assert made.texts.styles == ("Add", "Wrap")
    assert made.texts.expand


def test_an_empty_request_still_has_one_text_each_and_nothing_to_expand(
    sources: PromptSources,
) -> None:
    made = plan(sources, prompt="", style_selections=["Fooocus V2"])[0]
    assert (made.texts.positives, made.texts.negatives, made.texts.expand) == (("",), ("",), False)


def test_arrays_and_wildcards_change_from_picture_to_picture(sources: PromptSources) -> None:
    plans = plan(sources, prompt="[[a,b]] __color__", image_number=3, read_wildcards_in_order=True)
    assert [made.texts.prompt for made in plans] == ["a red", " b green", "a red"]


def test_picture_k_of_a_batch_has_the_texts_of_a_single_one_with_that_seed(
    sources: PromptSources,
) -> None:
    fields: dict[str, Any] = {"prompt": "__color__ __color__", "style_selections": ["Random Style"]}
    batch = plan(sources, **fields, image_number=8)
    single = [plan(sources, **fields, image_seed=5 + i)[0] for i in range(8)]
    assert [made.texts.positives for made in batch] == [made.texts.positives for made in single]


def test_an_unknown_style_is_refused(sources: PromptSources) -> None:
    with pytest.raises(InvalidParameter):
        plan(sources, style_selections=["Nope"])


@pytest.mark.parametrize(
    ("prompt", "rest", "loras"),
    [
        ("a cat <lora:foo:0.5>, nice", "a cat, nice", [("foo.safetensors", 0.5)]),
        ("<lora:bar:-.25> hi", "hi", [("sub/bar.safetensors", -0.25)]),
        ("a, <lora:missing:1>, b", "a, b", []),
        ("x <lora:foo:abc> y", "x <lora:foo:abc> y", []),
    ],
)
def test_loras_are_taken_out_of_the_prompt(
    prompt: str, rest: str, loras: list[tuple[str, float]]
) -> None:
    assert prompt_loras(prompt, ["foo.safetensors", "sub/bar.safetensors"]) == (rest, loras)


@pytest.mark.parametrize(
    ("asked", "refiner", "reason"),
    [
        ({"base_model_name": "r"}, "None", "it is the model itself"),
        ({"performance_selection": "Lightning"}, "None", "too few steps"),
        ({"base_model_name": "embedded", "performance_selection": "Hyper-SD"}, "None", "too few"),
        ({"performance_selection": "Quality"}, "r", ""),
    ],
)
def test_a_refiner_that_is_left_out_is_noted(
    sources: PromptSources, asked: dict[str, Any], refiner: str, reason: str
) -> None:
    made = plan(sources, refiner_model_name="r", refiner_swap_method="vae", **asked)[0]
    assert (made.refiner, made.swap_method) == (refiner, "vae")
    assert reason in str(made.notes.get("refiner", ""))
    assert bool(reason) == ("refiner" in made.notes)


def test_five_loras_take_effect(sources: PromptSources) -> None:
    slots = [{"model_name": f"{i}", "weight": 1} for i in (0, 1, 2, 3)]
    off = [{"model_name": "off", "enabled": False}, {"model_name": "None"}]
    prompt = "<lora:foo:1><lora:bar:1>"
    made = plan(sources, prompt=prompt, loras=[*off, *slots])[0]
    assert [name for name, _ in made.loras] == ["0", "1", "2", "3", "foo.safetensors"]


FOO, BAR = "foo.safetensors", "sub/bar.safetensors"


@pytest.mark.parametrize(
    ("slots", "prompt", "loras"),
    [
        ([(FOO, 0.5)], "a <lora:foo:0.8>", [(FOO, 0.5)]),
        ([(FOO, 0.5), (FOO, 0.5)], "a", [(FOO, 0.5), (FOO, 0.5)]),
        ([(FOO, 0.5), (FOO, 0.4)], "<lora:bar:1>", [(FOO, 0.5), (FOO, 0.4), (BAR, 1.0)]),
        ([], "<lora:bar:1> <lora:bar:1> <lora:bar:.5>", [(BAR, 1.0), (BAR, 0.5)]),
    ],
)
def test_a_lora_of_the_prompt_that_repeats_one_of_the_request_is_left_out(
    sources: PromptSources,
    slots: list[tuple[str, float]],
    prompt: str,
    loras: list[tuple[str, float]],
) -> None:
    asked = [{"model_name": name, "weight": weight} for name, weight in slots]
    assert list(plan(sources, prompt=prompt, loras=asked)[0].loras) == loras


def test_the_file_of_a_fast_mode_named_in_the_prompt_is_applied_once(
    sources: PromptSources,
) -> None:
    known = ["lcm/sdxl_lcm_lora.safetensors", FOO]

    def loras(mode: str) -> tuple[tuple[str, float], ...]:
        prompt = "<lora:sdxl_lcm_lora:0.7> <lora:foo:1>"
        asked = {"prompt": prompt, "performance_selection": mode, "style_selections": []}
        params = params_from({**asked, "image_seed": 5})
        return plan_images(resolve_params(params, None, known), sources)[0].loras

    assert loras("Extreme Speed") == ((FOO, 1.0), ("sdxl_lcm_lora.safetensors", 1.0))
    assert loras("Speed") == ((known[0], 0.7), (FOO, 1.0))


def test_a_plan_keeps_the_size_that_was_asked_for(sources: PromptSources) -> None:
    assert plan(sources, aspect_ratios_selection="1001x705")[0].size.asked == (1001, 705)
    made = plan(sources, EMBEDDED, aspect_ratios_selection="333x200")[0]
    assert (made.size.asked, made.size.hint) == ((333, 200), made.size.native)
