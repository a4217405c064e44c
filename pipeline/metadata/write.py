"""The parameters text inside a picture, as Fooocus and A1111 write it.

``pipeline.images.encode`` puts the text into the file.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from pipeline.request.choices import NO_MODEL
from pipeline.request.decode import GenerateParams
from pipeline.request.plan import ImagePlan
from pipeline.request.styles import EXPANSION

SOFTWARE: Final = "Focal"
Record = dict[str, object]

# Names that other tools know samplers by; the others keep their own. Of two with one name, which
# make the same picture, the last comes back.
SAMPLER_TITLES: Final[Mapping[str, str]] = {
    "euler": "Euler",
    "euler_ancestral": "Euler a",
    "heun": "Heun",
    "dpm_2": "DPM2",
    "dpm_2_ancestral": "DPM2 a",
    "lms": "LMS",
    "dpm_fast": "DPM fast",
    "dpm_adaptive": "DPM adaptive",
    "dpmpp_2s_ancestral": "DPM++ 2S a",
    "dpmpp_sde": "DPM++ SDE",
    "dpmpp_sde_gpu": "DPM++ SDE",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_2m_sde_gpu": "DPM++ 2M SDE",
    "lcm": "LCM",
    "tcd": "TCD",
    "restart": "Restart",
    "ddim": "DDIM",
    "uni_pc": "UniPC",
}
_NO_KARRAS: Final = frozenset(
    ("euler", "euler_ancestral", "heun", "dpm_fast", "dpm_adaptive", "ddim", "uni_pc")
)
# A1111's label → Fooocus's key, in the order they are written.
LABELS: Final[tuple[tuple[str, str], ...]] = (
    ("Steps", "steps"),
    ("Sampler", "sampler"),
    ("Seed", "seed"),
    ("Size", "resolution"),
    ("CFG scale", "guidance_scale"),
    ("Sharpness", "sharpness"),
    ("ADM Guidance", "adm_guidance"),
    ("Model", "base_model"),
    ("Model hash", "base_model_hash"),
    ("Performance", "performance"),
    ("Scheduler", "scheduler"),
    ("VAE", "vae"),
    ("Raw prompt", "prompt"),
    ("Raw negative prompt", "negative_prompt"),
    ("Refiner", "refiner_model"),
    ("Refiner hash", "refiner_model_hash"),
    ("Adaptive CFG", "adaptive_cfg"),
    ("CFG rescale", "guidance_rescale"),  # ours, as other programs name it
    ("Clip skip", "clip_skip"),
    ("Overwrite Switch", "overwrite_switch"),
    ("Refiner Swap Method", "refiner_swap_method"),
    ("FreeU", "freeu"),
    ("Lora hashes", "lora_hashes"),
    ("Lora weights", "lora_weights"),
    ("Version", "version"),
    ("Refiner switch", "refiner_switch"),  # ours, so that the picture can be made again
    ("Styles", "styles"),  # ours too
    ("Prompt expansion", "prompt_expansion"),  # and this
)
_NUMBER: Final = re.compile(r"-?\d{1,20}(?:\.\d{1,20})?(?:e[+-]?\d{1,2})?")


def metadata_text(
    plan: ImagePlan,
    params: GenerateParams,
    *,
    hashes: Mapping[str, str] | None = None,
) -> str:
    """The text for one picture in ``params.metadata_scheme``.

    ``hashes`` give a model file's first ten SHA-256 digits.
    """
    record = plan_record(plan, params, hashes or {})
    if params.metadata_scheme == "a1111":
        return a1111_text(record)
    return json.dumps(record, sort_keys=True)


def plan_record(plan: ImagePlan, params: GenerateParams, hashes: Mapping[str, str]) -> Record:
    """What Fooocus records of a picture, under its keys."""
    texts, guidance = plan.texts, plan.guidance
    styles = [EXPANSION, *texts.styles] if texts.expand else list(texts.styles)
    record: Record = {
        "prompt": "\n".join(_tidy((texts.prompt, *texts.extra_prompts))),
        "negative_prompt": "\n".join(_tidy((texts.negative_prompt, *texts.extra_negative_prompts))),
        "prompt_expansion": plan.expansion,
        "full_prompt": [*_tidy(texts.positives), *([plan.expansion] if plan.expansion else ())],
        "full_negative_prompt": _tidy(texts.negatives),
        "styles": str(styles),
        "performance": params.performance_selection,
        "steps": plan.sampling.steps,
        "resolution": str(plan.size.asked),
        "guidance_scale": guidance.cfg,
        "sharpness": guidance.sharpness,
        "adm_guidance": str(
            (
                guidance.adm_scaler_positive,
                guidance.adm_scaler_negative,
                guidance.adm_scaler_end,
            )
        ),
        "base_model": short_name(plan.model),
        "refiner_model": short_name(plan.refiner),
        "refiner_switch": params.refiner_switch,
        "sampler": plan.sampling.sampler,
        "scheduler": plan.sampling.scheduler,
        "vae": short_name(plan.vae),
        "seed": str(plan.seed),
        "metadata_scheme": params.metadata_scheme,
        "version": SOFTWARE,
    }
    record.update(_optional(plan, params))
    record.update(_model_hashes(plan, hashes))
    record.update(_lora_entries(plan, hashes))
    return record


def a1111_text(record: Mapping[str, object]) -> str:
    """The plain text that other tools read, of a record with Fooocus's keys."""
    values = dict(record)
    loras = list(loras_of(record))
    if loras:
        values["lora_hashes"] = ", ".join(f"{name}: {digest}" for name, _, digest in loras)
        values["lora_weights"] = ", ".join(f"{name}: {weight}" for name, weight, _ in loras)
    values["sampler"] = _sampler_title(str(record["sampler"]), str(record["scheduler"]))
    width, height = _NUMBER.findall(str(record["resolution"]))[:2]
    values["resolution"] = f"{width}x{height}"
    if not values.get("prompt_expansion"):
        values.pop("prompt_expansion", None)
    if values.get("refiner_model") == NO_MODEL:
        del values["refiner_model"]
        if "refiner_swap_method" not in values:
            values.pop("refiner_switch", None)
    pairs = (f"{label}: {_quoted(values[key])}" for label, key in LABELS if key in values)
    positive = ", ".join(_texts(record["full_prompt"]))
    negative = ", ".join(_texts(record["full_negative_prompt"]))
    return f"{positive}\nNegative prompt: {negative}\n{', '.join(pairs)}"


def short_name(name: str) -> str:
    """A model's name without its folder and ending."""
    return name.rpartition("/")[2].removesuffix(".safetensors")


def _tidy(texts: Iterable[str]) -> list[str]:
    """With single blanks, as a request's prompts are read.

    Arrays and wildcards leave others, which encode to the same; written down, they would make the
    text of a picture differ from that of the picture made from it.
    """
    return [re.sub(" +", " ", text).strip(" ") for text in texts]


def _optional(plan: ImagePlan, params: GenerateParams) -> Iterator[tuple[str, object]]:
    """What is recorded only where it differs from the default."""
    if plan.guidance.adaptive_cfg != GenerateParams().adaptive_cfg:
        yield "adaptive_cfg", plan.guidance.adaptive_cfg
    if plan.guidance.rescale:
        yield "guidance_rescale", plan.guidance.rescale
    if plan.clip_skip > 1:
        yield "clip_skip", plan.clip_skip
    if plan.freeu is not None:
        yield "freeu", str(msgspec.structs.astuple(plan.freeu))
    # Without a refiner the model takes over from itself; only "joint" does not show it.
    apart = plan.swap_method != "joint"
    if (apart or plan.refiner != NO_MODEL) and params.overwrite_switch > 0:
        yield "overwrite_switch", params.overwrite_switch
    if apart:
        yield "refiner_swap_method", plan.swap_method


def _model_hashes(plan: ImagePlan, hashes: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    for key, name in (("base_model_hash", plan.model), ("refiner_model_hash", plan.refiner)):
        if name in hashes:
            yield key, hashes[name]


def _lora_entries(plan: ImagePlan, hashes: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    """The LoRAs a person chose; a mode's own comes back with the mode."""
    chosen = plan.loras[:-1] if plan.mode_lora else plan.loras
    yield "loras", [[short_name(name), weight, hashes.get(name, "")] for name, weight in chosen]
    for i, (name, weight) in enumerate(chosen, start=1):
        yield f"lora_combined_{i}", f"{short_name(name)} : {weight}"


def _sampler_title(sampler: str, scheduler: str) -> str:
    title = SAMPLER_TITLES.get(sampler, "")
    if title and scheduler == "karras" and sampler not in _NO_KARRAS:
        return f"{title} Karras"
    return title or sampler


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r"[,:\n]", text) else text


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else [str(value)]


def loras_of(record: Mapping[str, object]) -> Iterator[tuple[str, float, str]]:
    """The well-formed ``[name, weight, hash]`` entries of a record."""
    entries = record.get("loras")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, list) and len(entry) == 3:
            weight = first_number(entry[1])
            if weight is not None:
                yield str(entry[0]), weight, str(entry[2])


def first_number(value: object) -> float | None:
    found = numbers(value)
    return found[0] if found else None


def numbers(value: object) -> list[float]:
    """Numbers in the order they stand in ``(1.5, 0.8, 0.3)``, ``512x768`` or a number itself."""
    return [float(text) for text in _NUMBER.findall("" if value is None else str(value)[:200])]
