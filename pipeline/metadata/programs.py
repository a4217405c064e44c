"""Parses the JSON of RuinedFooocus, SwarmUI, InvokeAI and NovelAI into Fooocus's keys.

Their samplers are named as ComfyUI or k-diffusion name them; a name that does not exist here is
left to the check of the request's fields, which tells it.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from pipeline.metadata.record import Parsed, Record, first_number, shown_names
from pipeline.request.choices import NO_MODEL

Entries = Mapping[str, Any]

_SDXL_CLIP_SKIP: Final = 2  # what these programs use for SDXL unless told otherwise
_RUINED_LORA: Final = re.compile(r"(-?\d{1,8}(?:\.\d{1,12})?) - (.+)", re.DOTALL)
_INVOKE_SCHEDULERS: Final[Mapping[str, tuple[str, str]]] = {
    "euler": ("euler", "normal"),
    "euler_k": ("euler", "karras"),
    "euler_a": ("euler_ancestral", "normal"),
    "heun": ("heun", "normal"),
    "heun_k": ("heun", "karras"),
    "lms": ("lms", "normal"),
    "lms_k": ("lms", "karras"),
    "ddim": ("ddim", "normal"),
    "ddpm": ("ddpm", "normal"),
    "kdpm_2": ("dpm_2", "normal"),
    "kdpm_2_k": ("dpm_2", "karras"),
    "kdpm_2_a": ("dpm_2_ancestral", "normal"),
    "kdpm_2_a_k": ("dpm_2_ancestral", "karras"),
    "dpmpp_2m": ("dpmpp_2m", "normal"),
    "dpmpp_2m_k": ("dpmpp_2m", "karras"),
    "dpmpp_2m_sde": ("dpmpp_2m_sde_gpu", "normal"),
    "dpmpp_2m_sde_k": ("dpmpp_2m_sde_gpu", "karras"),
    "dpmpp_sde": ("dpmpp_sde_gpu", "normal"),
    "dpmpp_sde_k": ("dpmpp_sde_gpu", "karras"),
    "unipc": ("uni_pc", "normal"),
    "unipc_k": ("uni_pc", "karras"),
    "lcm": ("lcm", "sgm_uniform"),
    "tcd": ("tcd", "tcd"),
}
_NOVELAI_SAMPLERS: Final[Mapping[str, str]] = {
    "k_euler": "euler",
    "k_euler_ancestral": "euler_ancestral",
    "k_dpmpp_2m": "dpmpp_2m",
    "k_dpmpp_2m_sde": "dpmpp_2m_sde_gpu",
    "k_dpmpp_2s_ancestral": "dpmpp_2s_ancestral",
    "k_dpmpp_sde": "dpmpp_sde_gpu",
    "k_dpm_2": "dpm_2",
    "k_dpm_2_ancestral": "dpm_2_ancestral",
    "k_dpm_fast": "dpm_fast",
    "k_dpm_adaptive": "dpm_adaptive",
    "k_heun": "heun",
    "k_lms": "lms",
    "ddim": "ddim",
    "ddim_v3": "ddim",
}


def parse_program(entries: Entries) -> Parsed | None:
    """None for JSON of none of these programs."""
    for is_from, parse in _PROGRAMS:
        if is_from(entries):
            return parse(entries)
    return None


def _ruined(entries: Entries) -> Parsed:
    known = {
        "Prompt": "prompt",
        "Negative": "negative_prompt",
        "prompt": "prompt",
        "steps": "steps",
        "cfg": "guidance_scale",
        "seed": "seed",
        "sampler_name": "sampler",
        "scheduler": "scheduler",
        "base_model_name": "base_model",
        "refiner_model_name": "refiner_model",
        "clip_skip": "clip_skip",
    }
    record = _renamed(entries, known)
    loras = entries.get("loras")
    matches = (
        _RUINED_LORA.fullmatch(str(entry[1]))
        for entry in (loras if isinstance(loras, list) else ())
        if isinstance(entry, list) and len(entry) == 2
    )
    record["loras"] = [[match[2], match[1], ""] for match in matches if match]
    read = {*known, "width", "height", "loras", "software", "base_model_hash", "start_step"}
    return _parsed("RuinedFooocus", record, entries, read)


def _swarm(entries: Entries) -> Parsed:
    params = _mapping(entries.get("sui_image_params"))
    known = {
        "prompt": "prompt",
        "negativeprompt": "negative_prompt",
        "model": "base_model",
        "seed": "seed",
        "steps": "steps",
        "cfgscale": "guidance_scale",
        "comfyuisampler": "sampler",
        "sampler": "sampler",
        "comfyuischeduler": "scheduler",
        "scheduler": "scheduler",
        "vae": "vae",
        "refinermodel": "refiner_model",
    }
    record = _renamed(params, known)
    record["clip_skip"] = abs(int(first_number(params.get("clipstopatlayer")) or _SDXL_CLIP_SKIP))
    names, weights = (_list_of(params.get(key)) for key in ("loras", "loraweights"))
    record["loras"] = [
        [name, weights[i] if i < len(weights) else 1.0, ""] for i, name in enumerate(names)
    ]
    read = {*known, "width", "height", "loras", "loraweights", "clipstopatlayer", "swarm_version"}
    version = str(params.get("swarm_version", ""))
    return _parsed("SwarmUI", record, params, read | {"aspectratio", "images"}, version)


def _invoke(entries: Entries) -> Parsed:
    known = {
        "positive_prompt": "prompt",
        "negative_prompt": "negative_prompt",
        "seed": "seed",
        "steps": "steps",
        "cfg_scale": "guidance_scale",
        "cfg_rescale_multiplier": "guidance_rescale",
    }
    record = _renamed(entries, known)
    scheduler = str(entries.get("scheduler", ""))
    pair = _INVOKE_SCHEDULERS.get(scheduler, (scheduler, ""))
    record |= {key: name for key, name in zip(("sampler", "scheduler"), pair, strict=True) if name}
    for key, field in (
        ("base_model", "model"),
        ("vae", "vae"),
        ("refiner_model", "refiner_model"),
    ):
        if name := _model_name(entries.get(field)):
            record[key] = name
    loras = entries.get("loras")
    record["loras"] = [
        [_model_name(each.get("model") or each.get("lora")), each.get("weight", 1.0), ""]
        for each in (loras if isinstance(loras, list) else ())
        if isinstance(each, dict)
    ]
    record["clip_skip"] = _SDXL_CLIP_SKIP
    read = {*known, "scheduler", "model", "vae", "refiner_model", "loras", "width", "height"}
    read |= {"app_version", "clip_skip", "generation_mode", "rand_device"}
    read |= {"positive_style_prompt", "negative_style_prompt"}
    return _parsed("InvokeAI", record, entries, read, str(entries.get("app_version", "")))


def _old_invoke(entries: Entries) -> Parsed:
    """InvokeAI before 3.0, its ``sd-metadata``: models of Stable Diffusion 1 and 2."""
    image = _mapping(entries.get("image"))
    known = {"steps": "steps", "cfg_scale": "guidance_scale", "seed": "seed"}
    record = _renamed(image, known)
    prompts = image.get("prompt")
    parts = prompts if isinstance(prompts, list) else [{"prompt": prompts}]
    record["prompt"] = ", ".join(str(_mapping(part).get("prompt", "")) for part in parts)
    sampler = str(image.get("sampler", ""))
    record["sampler"] = _NOVELAI_SAMPLERS.get(sampler, sampler.removeprefix("k_"))
    record["clip_skip"] = 1
    read = {*known, "prompt", "sampler", "width", "height", "type"}
    return _parsed("InvokeAI", record, image, read, str(entries.get("app_version", "")))


def _novelai(entries: Entries) -> Parsed:
    """NovelAI's models are its own, so none is named; its prompt weights ``{a}`` are plain text."""
    known = {
        "prompt": "prompt",
        "uc": "negative_prompt",
        "steps": "steps",
        "scale": "guidance_scale",
        "seed": "seed",
        "cfg_rescale": "guidance_rescale",
    }
    record = _renamed(entries, known)
    sampler, schedule = str(entries.get("sampler", "")), str(entries.get("noise_schedule", ""))
    record["sampler"] = _NOVELAI_SAMPLERS.get(sampler, sampler)
    record["scheduler"] = {"native": "normal"}.get(schedule, schedule or "normal")
    record["clip_skip"] = _SDXL_CLIP_SKIP
    read = {*known, "sampler", "noise_schedule", "width", "height", "n_samples", "signed_hash"}
    read |= {"request_type", "version"}
    return _parsed("NovelAI", record, entries, read, also=("the model",))


_PROGRAMS: Final[tuple[tuple[Callable[[Entries], bool], Callable[[Entries], Parsed]], ...]] = (
    (lambda entries: "RuinedFooocus" in str(entries.get("software", "")), _ruined),
    (lambda entries: "sui_image_params" in entries, _swarm),
    (lambda entries: "InvokeAI" in str(entries.get("app_id", "")), _old_invoke),
    (lambda entries: {"positive_prompt", "cfg_scale"} <= set(entries), _invoke),
    (lambda entries: {"prompt", "uc", "scale"} <= set(entries), _novelai),
)


def _parsed(
    program: str,
    record: Record,
    entries: Entries,
    read: set[str],
    version: str = "",
    also: tuple[str, ...] = (),
) -> Parsed:
    """``read``: the entries that are understood; ``also``: what else cannot be known."""
    if {"width", "height"} <= set(entries):
        record["resolution"] = f"({entries['width']}, {entries['height']})"
    if str(record.get("refiner_model", "")) in ("", NO_MODEL):
        record.pop("refiner_model", None)
    left = (key for key, value in entries.items() if key not in read and value not in _EMPTY)
    return Parsed(
        record=record,
        scheme=None,
        program=program,
        version=version[:80],
        unread=shown_names(iter((*also, *left))),
    )


_EMPTY: Final[tuple[object, ...]] = (None, False, "", 0, [], {})


def _renamed(entries: Entries, keys: Mapping[str, str]) -> Record:
    return {
        key: entries[name]
        for name, key in keys.items()
        if isinstance(entries.get(name), str | int | float)
    }


def _model_name(value: object) -> str:
    entries = _mapping(value)
    return str(entries.get("name") or entries.get("model_name") or "")


def _mapping(value: object) -> Entries:
    return value if isinstance(value, dict) else {}


def _list_of(value: object) -> list[Any]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value if isinstance(value, list) else []
