"""Parameters texts of other programs: what is read of them, who wrote them, what is not read."""

import json
from typing import Any

import pytest

from pipeline.metadata.read import ModelNames, Reading, read_parameters

NAMES = ModelNames(
    checkpoints=["xl/juggernaut.safetensors", "refiner.safetensors"],
    loras=["styles/detail.safetensors"],
    vaes=["fix.safetensors"],
)
PROMPT, AGAINST = "a lighthouse", "blurry"


def read(text: str | dict[str, Any]) -> Reading:
    return read_parameters(text if isinstance(text, str) else json.dumps(text), NAMES)


LABELS = {
    "Prompt": PROMPT,
    "Negative Prompt": AGAINST,
    "Fooocus V2 Expansion": "a lighthouse, intricate",
    "Styles": "['Fooocus V2']",
    "Performance": "Speed",
    "Resolution": "(1152, 896)",
    "Guidance Scale": 4.0,
    "Base Model": "juggernaut.safetensors",
    "Refiner Model": "refiner.safetensors",
    "Refiner Switch": 0.6,
    "Sampler": "dpmpp_2m",
    "Scheduler": "karras",
    "Seed": 7,
    "LoRA 1": "detail.safetensors : 0.5",
    "LoRA 2": "None : 1.0",
}
GRAPH = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 7,
            "steps": 25,
            "cfg": 4.0,
            "sampler_name": "dpmpp_2m",
            "scheduler": "karras",
            "denoise": 1.0,
            "model": ["12", 0],
            "positive": ["6", 0],
            "negative": ["8", 0],
            "latent_image": ["5", 0],
        },
    },
    "4": {
        "class_type": "CheckpointLoaderSimple",
        "inputs": {"ckpt_name": "juggernaut.safetensors"},
    },
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 1152, "height": 896}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": PROMPT, "clip": ["12", 1]}},
    "8": {"class_type": "CLIPTextEncode", "inputs": {"text": AGAINST, "clip": ["12", 1]}},
    "12": {
        "class_type": "LoraLoader",
        "inputs": {
            "lora_name": "styles\\detail.safetensors",
            "strength_model": 0.5,
            "model": ["4", 0],
            "clip": ["4", 1],
        },
    },
    "20": {"class_type": "UpscaleModelLoader", "inputs": {}},
}
TEXTS: dict[str, str | dict[str, Any]] = {
    "Fooocus": LABELS | {"Version": "Fooocus v2.1.860"},
    "SimpleSDXL": LABELS | {"Metadata Scheme": "simple", "Version": "Fooocus v2.5.0"},
    "FooocusPlus": LABELS | {"Version": "FooocusPlus 1.0.7"},
    "Fooocus-MRE": {
        "prompt": PROMPT,
        "negative_prompt": AGAINST,
        "steps": 25,
        "switch": 16,
        "cfg": 4.0,
        "base_model": "juggernaut.safetensors",
        "refiner_model": "refiner.safetensors",
        "base_clip_skip": -2,
        "refiner_clip_skip": -2,
        "sampler": "dpmpp_2m",
        "scheduler": "karras",
        "width": 1152,
        "height": 896,
        "l1": "detail.safetensors",
        "w1": 0.5,
        "l2": "None",
        "w2": 0.5,
        "seed": 7,
        "software": "Fooocus-MRE v2.0.78.5",
    },
    "RuinedFooocus": {
        "Prompt": PROMPT,
        "Negative": AGAINST,
        "steps": 25,
        "cfg": 4.0,
        "width": 1152,
        "height": 896,
        "seed": 7,
        "sampler_name": "dpmpp_2m",
        "scheduler": "karras",
        "base_model_name": "juggernaut.safetensors",
        "base_model_hash": "be9edd61",
        "loras": [["4852686128", "0.5 - styles\\detail.safetensors"]],
        "clip_skip": 2,
        "software": "RuinedFooocus",
    },
    "SwarmUI": {
        "sui_image_params": {
            "prompt": PROMPT,
            "negativeprompt": AGAINST,
            "model": "xl/juggernaut",
            "seed": 7,
            "steps": 25,
            "cfgscale": 4.0,
            "width": 1152,
            "height": 896,
            "sampler": "dpmpp_2m",
            "scheduler": "karras",
            "loras": ["styles/detail"],
            "loraweights": ["0.5"],
            "swarm_version": "0.9.3.1",
        }
    },
    "InvokeAI": {
        "app_version": "5.4.2",
        "generation_mode": "sdxl_txt2img",
        "positive_prompt": PROMPT,
        "negative_prompt": AGAINST,
        "width": 1152,
        "height": 896,
        "seed": 7,
        "cfg_scale": 4.0,
        "steps": 25,
        "scheduler": "dpmpp_2m_k",
        "model": {"key": "a", "name": "juggernaut", "base": "sdxl", "type": "main"},
        "loras": [{"model": {"key": "b", "name": "detail"}, "weight": 0.5}],
        "vae": {"name": "fix"},
    },
    "ComfyUI": GRAPH,
    "A1111": (
        f"{PROMPT}\nNegative prompt: {AGAINST}\nSteps: 25, Sampler: DPM++ 2M Karras, CFG scale: 4,"
        " Seed: 7, Size: 1152x896, Model hash: abc, Model: juggernaut,"
        ' Hires upscale: 2, Version: v1.6.0, Hashes: {"model": "abc", "lora:detail": "def"}'
    ),
    "Forge": (
        f"{PROMPT}\nNegative prompt: {AGAINST}\nSteps: 25, Sampler: DPM++ 2M,"
        " Schedule type: Karras, CFG scale: 4, Seed: 7, Size: 1152x896, Model: juggernaut,"
        " Version: f2.0.1v1.10.1"
    ),
}


@pytest.mark.parametrize("program", TEXTS)
def test_texts_of_other_programs_are_read_and_told_apart(program: str) -> None:
    reading = read(TEXTS[program])
    assert reading.program == program
    fields = reading.parameters
    assert (fields["prompt"], fields["negative_prompt"]) == (PROMPT, AGAINST)
    assert (fields["sampler_name"], fields["scheduler_name"]) == ("dpmpp_2m", "karras")
    assert (fields["image_seed"], fields["guidance_scale"]) == (7, 4.0)
    assert fields["aspect_ratios_selection"] == "1152*896"
    assert fields["base_model_name"] == "xl/juggernaut.safetensors"
    if program not in ("A1111", "Forge"):
        wanted = {"enabled": True, "model_name": "styles/detail.safetensors", "weight": 0.5}
        assert fields["loras"] == (wanted,)
    if program in ("FooocusPlus", "SimpleSDXL"):  # of the time when it was recorded
        assert fields["clip_skip"] == 1
    else:
        assert fields["clip_skip"] == 2


def test_what_cannot_be_read_is_named() -> None:
    assert read(TEXTS["A1111"]).unread == ("Hires upscale",)
    assert read(GRAPH).unread == ("UpscaleModelLoader",)
    odd = f"{PROMPT}\nSteps: 20, Sampler: PLMS, CFG scale: 90, Seed: 5"
    assert read(odd).unread == ("guidance_scale: 90.0", "sampler_name: PLMS")
    assert read({"nodes": [], "links": []}) == Reading(
        program="ComfyUI", unread=("the workflow's values",)
    )


def test_novelais_model_is_not_to_be_had() -> None:
    reading = read(
        {
            "prompt": "{{lighthouse}}",
            "uc": AGAINST,
            "steps": 28,
            "scale": 5.0,
            "seed": 7,
            "sampler": "k_euler_ancestral",
            "noise_schedule": "karras",
            "width": 832,
            "height": 1216,
            "request_type": "PromptGenerateRequest",
            "sm": True,
        }
    )
    assert (reading.program, reading.unread) == ("NovelAI", ("the model", "sm"))
    assert reading.parameters["prompt"] == "{{lighthouse}}"
    assert reading.parameters["sampler_name"] == "euler_ancestral"
    assert "base_model_name" not in reading.parameters


def test_sections_of_a1111_text_begin_at_the_start_of_a_line() -> None:
    text = 'the words "Negative prompt: x", Steps: 3\nNegative prompt: low\nSteps: 20, Seed: 5'
    fields = read(text).parameters
    assert fields["prompt"] == 'the words "Negative prompt: x", Steps: 3'
    assert (fields["negative_prompt"], fields["overwrite_step"]) == ("low", 20)


def test_a_prompt_may_begin_with_a_brace() -> None:
    reading = read("{{masterpiece}}, 1girl\nNegative prompt: low\nSteps: 20, Seed: 5")
    assert (reading.scheme, reading.parameters["prompt"]) == ("a1111", "{{masterpiece}}, 1girl")


def test_a_refiner_of_a1111_has_its_hash_behind_its_name() -> None:
    tail = "Steps: 20, Seed: 5, Refiner: refiner [7440042bbd], Refiner switch at: 0.7"
    fields = read(f"a\n{tail}").parameters
    assert (fields["refiner_model_name"], fields["refiner_switch"]) == ("refiner.safetensors", 0.7)


@pytest.mark.parametrize(
    ("version", "clip_skip"),
    [("2.1.860", 2), ("2.3.1", 2), ("2.4.0", 1), ("2.5.5", 1), ("2.10.0", 1)],
)
def test_a_clip_skip_that_is_not_recorded_is_that_of_the_version(
    version: str, clip_skip: int
) -> None:
    record = {"prompt": "a", "seed": "7", "version": f"Fooocus v{version}"}
    assert read(record).parameters["clip_skip"] == clip_skip
    plain = f"a\nSteps: 30, Seed: 7, Version: Fooocus v{version}"
    assert read(plain).parameters["clip_skip"] == clip_skip


@pytest.mark.parametrize(
    ("version", "told", "clip_skip"),
    [
        ("v1.10.1", "", 2),
        ("v1.10.1", "1", 2),
        ("v1.10.1", "2", 2),
        ("f2.0.1v1.10.1", "", 2),
        ("f2.0.1v1.10.1", "3", 3),
        ("ComfyUI", "", 2),
        ("v1.10.1", "1e999", 2),
        ("Fooocus v2.5.5", "", 1),
        ("Fooocus v2.5.5", "2", 2),
        ("Focal", "", 1),
    ],
)
def test_the_layer_of_a_text_is_the_one_that_its_program_took(
    version: str, told: str, clip_skip: int
) -> None:
    pair = f", Clip skip: {told}" if told else ""
    fields = read(f"a\nSteps: 30, Seed: 7{pair}, Version: {version}").parameters
    assert fields["clip_skip"] == clip_skip


def test_loras_are_read_from_each_place_that_a_fooocus_put_them() -> None:
    wanted = ({"enabled": True, "model_name": "styles/detail.safetensors", "weight": 0.1},)
    texts: list[str | dict[str, Any]] = [
        {"prompt": "a", "loras": [["detail", 0.1, "4852686128"]]},
        {"prompt": "a", "lora_combined_1": "detail : 0.1"},
        {"Prompt": "a", "LoRA 1": "detail.safetensors : 0.1"},
        {"Prompt": "a", "LoRA [detail.safetensors] weight": 0.1},
        'a\nSteps: 30, Lora hashes: "detail: 4852686128: 0.1", Version: Fooocus v2.2.0',
        'a\nSteps: 30, Lora hashes: "detail: 48", Lora weights: "detail: 0.1"',
    ]
    for text in texts:
        assert read(text).parameters["loras"] == wanted, text


@pytest.mark.parametrize("name", ["sdxl_lcm_lora", "sdxl_lcm_lora.safetensors"])
def test_a_modes_own_lora_is_left_to_the_mode(name: str) -> None:
    record = {
        "prompt": "a",
        "performance": "Extreme Speed",
        "loras": [["detail", 0.5, ""], [name, 1.0, "bb"]],
        "version": "Fooocus v2.4.1",
    }
    wanted = {"enabled": True, "model_name": "styles/detail.safetensors", "weight": 0.5}
    assert read(record).parameters["loras"] == (wanted,)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        "a\nSteps: 1, " + "b:{" * 300_000,
        'a\nSteps: 1, Lora weights: "' + "l, " * 300_000 + '"',
        '{"prompt": "a", "styles": "[\'' + "\\\\'" * 200_000 + '"}',
        '{"1": {"class_type": "KSampler", "inputs": {"model": ["1", 0]}}}',
        json.dumps({f"LoRA {i}": "a : 1" for i in range(40_000)}),
        json.dumps({str(i): {"class_type": "x", "inputs": {}} for i in range(20_000)}),
        '{"prompt": ' + "[" * 400_000,
    ],
)
def test_a_long_text_of_any_program_takes_linear_time(text: str) -> None:
    read(text)
