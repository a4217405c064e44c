"""Cases of what happens to texts and numbers before and after sampling, recorded as JSON."""

import random
from collections.abc import Callable
from typing import Any, Final

from pipeline.request.choices import PERFORMANCES, SCHEDULER_NAMES
from pipeline.request.decode import GenerateParams, Lora, parse_aspect_ratio
from pipeline.request.goals import UPSCALE_STEPS
from pipeline.request.performance import FAST_MODES
from pipeline.request.plan import STEPS, plan_images, seed_of
from pipeline.request.presets import PresetStore
from pipeline.request.prompts import filled, prompt_loras, read_prompts
from pipeline.request.resolved import resolve_params
from pipeline.request.sampling import Guidance
from pipeline.request.styles import normalise_name
from pipeline.request.wildcards import apply_arrays
from pipeline.sampling.adm import SdxlSizes
from tools.parity_cases import metadata
from tools.parity_cases.compare import LeftOut, Results
from tools.parity_cases.fixtures import Case, Fixtures
from tools.parity_cases.requests import ROOT, SOURCES

# Cases of which nothing here could be compared, and why.
NOTHING_OF_OURS: Final = {
    "versions": "these are the libraries that the figures were recorded with",
}


def _arrays(recorded: Any) -> Any:
    return [{**each, "out": apply_arrays(each["text"], each["index"])} for each in recorded]


def _seeds(recorded: Any) -> Any:
    def seed(each: Any, *, fixed: bool) -> int:
        params = GenerateParams(image_seed=each["seed"], disable_seed_increment=fixed)
        return seed_of(params, each["i"])

    return [
        {**each, "fixed": seed(each, fixed=True), "inc": seed(each, fixed=False)}
        for each in recorded
    ]


def _round_to_64(recorded: Any) -> Any:
    def rounded(side: int) -> int:
        ids = SdxlSizes(side, side, Guidance()).ids(positive=True, scaled=False)
        return int(ids[0])

    return {side: rounded(int(side)) for side in recorded}


def _style_order(recorded: Any) -> Any:
    """The order of the styles that the reference reads from files; random styles draw by it."""
    return [name for name in SOURCES.styles.names() if name in set(recorded)]


def _aspect_ratios(recorded: Any) -> Any:
    """Sizes of the default preset, and what the labels that the reference shows are read as."""
    preset = PresetStore(ROOT / "presets").load("default")
    sizes = {label: parse_aspect_ratio(label) for label in recorded["labels"]}
    default = parse_aspect_ratio(preset.default_aspect_ratio or "")
    return {
        "available": list(preset.available_aspect_ratios),
        "default": next((label for label, size in sizes.items() if size == default), None),
        "labels": LeftOut("the labels are markup of the reference's pages"),
        "parsed": [
            {**each, "size": list(parse_aspect_ratio(each["label"]) or ())}
            for each in recorded["parsed"]
        ],
    }


def _prompt_loras(recorded: Any) -> Any:
    """LoRAs of prompts beside one that was chosen; the names that are found are the files."""
    files = {name for each in recorded for name, _ in each["loras"][1:]}
    known = sorted(files)
    made = []
    for each in recorded:
        base = [Lora(model_name=name, weight=weight) for name, weight in each["loras"][:1]]
        params = GenerateParams(prompt=each["prompt"], loras=tuple(base), image_number=1)
        (plan,) = plan_images(resolve_params(params, known_loras=known), SOURCES)
        found = [(lora.model_name, lora.weight) for lora in base]
        found += prompt_loras(each["prompt"], known)[1]
        loras = plan.loras if each["deduplicate"] else found
        made.append({**each, "cleaned": plan.texts.prompt, "loras": [list(lora) for lora in loras]})
    return made


def _settings(_recorded: Any) -> Any:
    params = GenerateParams()
    state = LeftOut("what changes while a picture is made stands elsewhere")
    return {
        "adaptive_cfg": params.adaptive_cfg,
        "adm_scaler_end": params.adm_scaler_end,
        "controlnet_softness": params.controlnet_softness,
        "eps_record": state,
        "global_diffusion_progress": state,
        "negative_adm_scale": params.adm_scaler_negative,
        "positive_adm_scale": params.adm_scaler_positive,
        "sharpness": params.sharpness,
    }


def _performance(_recorded: Any) -> Any:
    return [
        {
            "lora": FAST_MODES[mode].lora if mode in FAST_MODES else None,
            "name": mode.upper().replace(" ", "_").replace("-", "_"),
            "restricted": mode in FAST_MODES,
            "steps": STEPS[mode],
            "steps_uov": UPSCALE_STEPS[mode],
            "value": mode,
        }
        for mode in PERFORMANCES
    ]


def _not_empty(recorded: Any) -> Any:
    no_default = LeftOut("texts here always have a default")
    return [
        {**each, "out": no_default if each["default"] is None else _filled(each)}
        for each in recorded
    ]


def _filled(each: Any) -> list[str]:
    return list(filled(each["items"], each["default"]))


def _wildcard_files(recorded: Any) -> Any:
    """The files of the reference of which this server has one of its own."""
    rng = random.Random(0)
    stems = {name: name.removesuffix(".txt") for name in recorded}

    def word(stem: str) -> str:
        return SOURCES.wildcards.apply(f"__{stem}__", rng, index=0, in_order=True)

    return [name for name, stem in stems.items() if word(stem) != stem]


CASES: Final[dict[str, Callable[[Any], Any]]] = {
    "arrays": _arrays,
    "aspect_ratios": _aspect_ratios,
    "civitai_no_karras": lambda _: metadata.without_karras(),
    "cleanup_prompt": lambda recorded: {text: prompt_loras(text, ())[0] for text in recorded},
    "exif": metadata.exif,
    "lora_from_prompt": _prompt_loras,
    "metadata": metadata.texts,
    "normalize_key": lambda recorded: {name: normalise_name(name) for name in recorded},
    "patch_settings_defaults": _settings,
    "performance": _performance,
    "quote": lambda recorded: {text: metadata.label_value(text) for text in recorded},
    "remove_empty_str": _not_empty,
    "round_to_64": _round_to_64,
    "safe_str": lambda recorded: {text: read_prompts(text, "").main for text in recorded},
    "samplers": lambda _: metadata.sampler_titles(),
    "schedulers": lambda _: list(SCHEDULER_NAMES),
    "seeds": _seeds,
    "style_keys_order": _style_order,
    "wildcard_files": _wildcard_files,
}


def recorded_json(case: Case, fixtures: Fixtures) -> Results:
    """One entry of the file. Raises NotImplementedError."""
    name = case.outputs[0]
    if name not in CASES:
        raise NotImplementedError(NOTHING_OF_OURS.get(name, f"nothing here makes {name} yet"))
    return {name: CASES[name](fixtures.json(case.file)[name])}


RUNNERS = {"json.": recorded_json}
