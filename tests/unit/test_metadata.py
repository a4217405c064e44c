"""The parameters text in both schemes, and back."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.metadata.read import MAX_CHARS, ModelNames, read_metadata
from pipeline.metadata.record import ModelHashes
from pipeline.metadata.write import metadata_text
from pipeline.request.choices import SAMPLER_NAMES
from pipeline.request.decode import params_from
from pipeline.request.plan import ImagePlan, plan_images
from pipeline.request.presets import Preset
from pipeline.request.prompts import PromptSources
from pipeline.request.resolved import resolve_params
from pipeline.request.styles import StyleLibrary, Template
from pipeline.request.wildcards import Wildcards

NAMES = ModelNames(
    checkpoints=["embedded", "sub/base.safetensors", "ref.safetensors"],
    loras=["sub/foo.safetensors", "bar.safetensors"],
    vaes=["v.safetensors"],
)
RICH: dict[str, Any] = {
    "prompt": 'a "cat": red, __none__\nsecond line',
    "negative_prompt": "bad: hands, ugly\nSteps: 3, Seed: 4",
    "style_selections": ["Fooocus V2", "Wrap"],
    "image_seed": 2**63 - 1,
    "image_number": 2,
    "base_model_name": "sub/base.safetensors",
    "refiner_model_name": "ref.safetensors",
    "refiner_switch": 0.8,
    "refiner_swap_method": "separate",
    "overwrite_switch": 9,
    "overwrite_step": 17,
    "loras": [
        {"model_name": "sub/foo.safetensors", "weight": 0.5},
        {"model_name": "bar.safetensors", "weight": -0.25},
    ],
    "vae_name": "v.safetensors",
    "freeu_enabled": True,
    "adaptive_cfg": 5.5,
    "guidance_rescale": 0.7,
    "sampler_name": "dpmpp_3m_sde",
    "scheduler_name": "exponential",
    "aspect_ratios_selection": "1024*768",
    "clip_skip": 3,
}
FAST: dict[str, Any] = {
    "prompt": "a cat",
    "performance_selection": "Lightning",
    "image_seed": 1,
    "style_selections": [],
    "base_model_name": "embedded",
}
SELF_REFINED: dict[str, Any] = {
    "prompt": "a cat",
    "image_seed": 1,
    "style_selections": [],
    "refiner_swap_method": "vae",
    "refiner_switch": 0.7,
}


LCM: dict[str, Any] = {"model_name": "sdxl_lcm_lora.safetensors", "weight": 0.7}


def plan(folder: Path, fields: dict[str, Any], preset: Preset | None = None) -> list[ImagePlan]:
    style = {"name": "Wrap", "prompt": "photo of {prompt}", "negative_prompt": "blurry"}
    (folder / "s.json").write_text(json.dumps([style]))
    sources = PromptSources(StyleLibrary(folder), Wildcards(folder))
    return plan_images(resolve_params(params_from(fields), preset, NAMES.loras), sources)


@pytest.mark.parametrize("scheme", ["fooocus", "a1111"])
@pytest.mark.parametrize("fields", [RICH, FAST, SELF_REFINED])
def test_what_is_written_makes_the_same_picture_again(
    tmp_path: Path, scheme: str, fields: dict[str, Any]
) -> None:
    params = params_from({**fields, "metadata_scheme": scheme})
    for made in plan(tmp_path, fields):
        text = metadata_text(made, params)
        (again,) = plan(tmp_path, read_metadata(text, NAMES))
        for name in set(ImagePlan.__struct_fields__) - {"index"}:
            assert getattr(again, name) == getattr(made, name), name


def test_the_json_scheme_has_fooocus_keys_in_order(tmp_path: Path) -> None:
    fields = {"prompt": "a cat", "negative_prompt": "dog", "style_selections": [], "image_seed": 5}
    made = msgspec.structs.replace(plan(tmp_path, fields)[0], expansion="a cat, nice")
    text = metadata_text(made, params_from(fields))
    record = json.loads(text)
    assert list(record) == sorted(record)
    assert record["adm_guidance"] == "(1.5, 0.8, 0.3)"
    assert record["resolution"] == "(1152, 896)"
    assert record["full_prompt"] == ["a cat", "a cat, nice"]
    assert record["prompt_expansion"] == "a cat, nice"
    assert record["seed"] == "5"
    assert record["styles"] == "[]"


def test_the_plain_scheme_is_what_other_tools_read(tmp_path: Path) -> None:
    fields = {
        "prompt": "a cat",
        "negative_prompt": "dog",
        "style_selections": [],
        "image_seed": 5,
        "metadata_scheme": "a1111",
        "base_model_name": "sub/base.safetensors",
    }
    hashes = ModelHashes(models={"sub/base.safetensors": "0123456789"})
    text = metadata_text(plan(tmp_path, fields)[0], params_from(fields), hashes=hashes)
    positive, negative, pairs = text.split("\n")
    assert (positive, negative) == ("a cat", "Negative prompt: dog")
    assert pairs.startswith("Steps: 30, Sampler: DPM++ 2M SDE Karras, Seed: 5, Size: 1152x896,")
    assert "Model: base, Model hash: 0123456789" in pairs


def test_a_text_of_a1111_itself_is_read() -> None:
    text = (
        "a cat <lora:foo:1>\non a mat\nNegative prompt: ugly\n"
        "Steps: 25, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 42, Size: 512x768, "
        'Model hash: abc, Model: ref, Lora hashes: "foo: 1", Version: v1.9.0'
    )
    assert read_metadata(text, NAMES) == {
        "prompt": "a cat <lora:foo:1>\non a mat",
        "negative_prompt": "ugly",
        "overwrite_step": 25,
        "sampler_name": "dpmpp_2m",
        "scheduler_name": "karras",
        "guidance_scale": 7.0,
        "image_seed": 42,
        "aspect_ratios_selection": "512*768",
        "base_model_name": "ref.safetensors",
        "loras": (),
        "image_number": 1,
        # What A1111 has not is off, whatever the preset says.
        "style_selections": (),
        "performance_selection": "Speed",
        "refiner_model_name": "None",
        "vae_name": "Default (model)",
        "adaptive_cfg": 7.0,
        "guidance_rescale": 0.0,
        "clip_skip": 2,  # the layer that A1111 takes for SDXL
        "overwrite_switch": -1,
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "{",
        "[1]",
        "{}",
        "[" * 9999,
        '{"a":' * 9999,
        '{"seed": "__import__(\'os\')", "steps": [[]], "resolution": {}, "loras": {"a": 1}}',
        "Steps: ",
        "Steps: x, Seed: " + "9" * 5000,
        "Steps: 1e999, Seed: 1e999, Size: 1e999x5, Clip skip: 1e999",
        '{"prompt": "a", "resolution": "(1e999, 5)"}',
        '{"software": "Fooocus-MRE", "prompt": "a", "clip_skip": "1e999", "switch": "1e999"}',
        "Steps: 30" * (MAX_CHARS // 4),
    ],
)
def test_text_that_says_nothing_usable_gives_nothing(text: str) -> None:
    found = read_metadata(text)
    assert not {"image_seed", "aspect_ratios_selection", "sampler_name"} & set(found)
    assert found.get("overwrite_step", -1) == -1


def test_values_out_of_range_are_left_out() -> None:
    found = read_metadata('{"prompt": "a", "guidance_scale": 99, "sampler": "evil", "seed": "-7"}')
    assert found["prompt"] == "a"
    assert not {"guidance_scale", "sampler_name", "image_seed"} & set(found)


def test_an_entry_of_another_kind_does_not_spoil_the_others() -> None:
    text = '{"prompt": "a", "negative_prompt": null, "steps": {"a": 1}, "seed": ' + "9" * 5000 + "}"
    found = read_metadata(text)
    assert (found["prompt"], found["negative_prompt"]) == ("a", "")
    assert "image_seed" not in found


@pytest.mark.parametrize("scheme", ["fooocus", "a1111"])
@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_every_sampler_and_its_scheduler_come_back(
    tmp_path: Path, sampler: str, scheme: str
) -> None:
    # A1111 has one name for these and their _gpu twins, which are the same sampler here.
    shared = scheme == "a1111" and sampler in ("dpmpp_sde", "dpmpp_2m_sde")
    back = f"{sampler}_gpu" if shared else sampler
    for scheduler in ("karras", "normal", "sgm_uniform"):
        fields = {**FAST, "performance_selection": "Speed", "metadata_scheme": scheme}
        fields |= {"sampler_name": sampler, "scheduler_name": scheduler}
        text = metadata_text(plan(tmp_path, fields)[0], params_from(fields))
        found = read_metadata(text, NAMES)
        assert (found["sampler_name"], found["scheduler_name"]) == (back, scheduler)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Sampler: DPM++ 2M SDE, Schedule type: Karras", ("dpmpp_2m_sde_gpu", "karras")),
        ("Sampler: Euler a, Schedule type: SGM Uniform", ("euler_ancestral", "sgm_uniform")),
        ("Sampler: DPM++ 2S a Karras", ("dpmpp_2s_ancestral", "karras")),
        ("Sampler: Euler a, Schedule type: Automatic", ("euler_ancestral", None)),
    ],
)
def test_a1111_names_its_schedule_apart(said: str, meant: tuple[str, str | None]) -> None:
    found = read_metadata(f"a cat\nSteps: 20, {said}, Seed: 1")
    assert (found["sampler_name"], found.get("scheduler_name")) == meant


TEMPLATES = {
    style.name: style
    for style in (
        Template("Sharp", "still of {prompt}, crisp", "soft, blurry"),
        Template("Crisp", "crisp", ""),
        Template("Negative", "", "ugly, bad"),
        Template("Other", "painting of {prompt}", "photo"),
    )
}


def fooocus_text(positive: str, negative: str, raw: str, raw_negative: str) -> str:
    quoted = f'Raw prompt: "{raw}", Raw negative prompt: "{raw_negative}"'
    return (
        f"{positive}\nNegative prompt: {negative}\nSteps: 30, Seed: 5, {quoted}, Version: Fooocus"
    )


@pytest.mark.parametrize(
    ("positive", "negative", "styles"),
    [
        ("a cat, fat", "dogs", []),
        ("a cat, fat, a cat, fat, intricate", "dogs", ["Fooocus V2"]),
        ("still of a cat, fat, crisp", "ugly, bad, soft, blurry, dogs", ["Negative", "Sharp"]),
        (
            "still of a cat, fat, crisp, a cat, fat, intricate",
            "soft, blurry, dogs",
            ["Fooocus V2", "Sharp"],
        ),
    ],
)
def test_the_styles_of_a_fooocus_text_that_names_none_are_worked_out(
    positive: str, negative: str, styles: list[str]
) -> None:
    found = read_metadata(fooocus_text(positive, negative, "a cat, fat", "dogs"), None, TEMPLATES)
    assert found["style_selections"] == tuple(styles)
    assert (found["prompt"], found["negative_prompt"]) == ("a cat, fat", "dogs")


def test_without_its_styles_a_fooocus_text_gives_what_was_encoded() -> None:
    text = fooocus_text("etching of a cat, lines", "color, dogs", "a cat", "dogs")
    found = read_metadata(text, None, TEMPLATES)
    assert found["style_selections"] == ()
    assert (found["prompt"], found["negative_prompt"]) == ("etching of a cat, lines", "color, dogs")


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "text",
    [
        "Steps: 1," + " " * 200_000,
        "Steps: 1," + 'a:"\\"' * 50_000,
        "Steps: 1," + 'a:"b"c,' * 35_000,
        "Steps: 1," + "a" * 200_000,
        "Steps: 1," + "," * 200_000,
        "\nSteps: " * 25_000,
        '{"styles": "' + "'" * 200_000 + '"}',
        "a\nSteps: 1, Raw prompt: " + '"' + "a\\n" * 60_000 + '"',
    ],
)
def test_a_text_made_to_be_slow_is_not(text: str) -> None:
    read_metadata(text, NAMES, TEMPLATES)


@pytest.mark.parametrize("scheme", ["fooocus", "a1111"])
@pytest.mark.parametrize(
    ("fields", "preset"),
    [
        (FAST, Preset(few_step_lora="own.safetensors")),
        (FAST | {"performance_selection": "Speed", "loras": [LCM]}, Preset()),
    ],
)
def test_only_the_loras_that_a_mode_brings_are_left_out(
    tmp_path: Path, scheme: str, fields: dict[str, Any], preset: Preset
) -> None:
    """A model's own few-step LoRA comes back with its mode, one that was chosen by its name."""
    params = params_from({**fields, "metadata_scheme": scheme})
    (made,) = plan(tmp_path, fields, preset)
    (again,) = plan(tmp_path, read_metadata(metadata_text(made, params), NAMES), preset)
    assert again.loras == made.loras


@pytest.mark.parametrize("scheme", ["fooocus", "a1111"])
def test_a_prompt_that_an_array_left_blank_is_encoded_again(tmp_path: Path, scheme: str) -> None:
    fields = {"prompt": "[[,a]] [[,b]]", "style_selections": ["Wrap"], "metadata_scheme": scheme}
    (made,) = plan(tmp_path, fields)
    (again,) = plan(tmp_path, read_metadata(metadata_text(made, params_from(fields)), NAMES))
    assert again.texts == made.texts
