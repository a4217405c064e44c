"""The parameters text in both schemes, and back."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.metadata import metadata_text
from pipeline.metadata_reading import MAX_CHARS, ModelNames, read_metadata
from pipeline.params import params_from
from pipeline.plan import ImagePlan, plan_images
from pipeline.presets import Preset
from pipeline.prompts import PromptSources
from pipeline.styles import StyleLibrary
from pipeline.wildcards import Wildcards

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


def plan(folder: Path, fields: dict[str, Any]) -> list[ImagePlan]:
    style = {"name": "Wrap", "prompt": "photo of {prompt}", "negative_prompt": "blurry"}
    (folder / "s.json").write_text(json.dumps([style]))
    sources = PromptSources(StyleLibrary(folder), Wildcards(folder), NAMES.loras)
    return plan_images(params_from(fields), Preset(), sources)


@pytest.mark.parametrize("scheme", ["fooocus", "a1111"])
@pytest.mark.parametrize("fields", [RICH, FAST])
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
    text = metadata_text(plan(tmp_path, fields)[0], params_from(fields), expansion="a cat, nice")
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
    hashes = {"sub/base.safetensors": "0123456789"}
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
        "Steps: 30" * (MAX_CHARS // 4),
    ],
)
def test_text_that_says_nothing_usable_gives_nothing(text: str) -> None:
    found = read_metadata(text)
    assert not {"image_seed", "overwrite_step", "aspect_ratios_selection"} & set(found)


def test_values_out_of_range_are_left_out() -> None:
    found = read_metadata('{"prompt": "a", "guidance_scale": 99, "sampler": "evil", "seed": "-7"}')
    assert found == {"prompt": "a", "image_number": 1}
