"""The parameters text inside a picture, as Fooocus and A1111 write it.

``pipeline.images.encode`` puts the text into the file.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from pipeline.metadata.record import SOFTWARE, ModelHashes, Record, loras_of, numbers, short_name
from pipeline.metadata.titles import LABELS, sampler_title
from pipeline.request.choices import NO_MODEL, MetadataScheme
from pipeline.request.decode import GenerateParams
from pipeline.request.goals import PATCH_UNTIL
from pipeline.request.plan import ImagePlan
from pipeline.request.styles import EXPANSION

_FULL_TEXTS: Final = ("full_prompt", "full_negative_prompt")
_WITHIN_QUOTES: Final = re.compile(r'[,:\n]|^["\s]|\s$')  # values that do not stand by themselves
_BARE: Final = frozenset({"hashes"})  # Civitai looks for JSON without quotes around it


def metadata_text(
    plan: ImagePlan, params: GenerateParams, *, hashes: ModelHashes | None = None
) -> str:
    """The text for one picture in ``params.metadata_scheme``."""
    return record_text(plan_record(plan, params, hashes), params.metadata_scheme)


def record_text(record: Mapping[str, object], scheme: MetadataScheme) -> str:
    """A record with Fooocus's keys as the text of a scheme."""
    if scheme == "a1111":
        return a1111_text(record)
    told = {key: value for key, value in record.items() if key not in _BARE}
    return json.dumps(told, sort_keys=True, ensure_ascii=False)


def without_full_texts(record: Mapping[str, object]) -> Record:
    """The record without the encoded texts, which follow from prompts and styles."""
    return {key: value for key, value in record.items() if key not in _FULL_TEXTS}


def plan_record(
    plan: ImagePlan, params: GenerateParams, hashes: ModelHashes | None = None
) -> Record:
    """What Fooocus records of a picture, under its keys."""
    texts, guidance, hashes = plan.texts, plan.guidance, hashes or ModelHashes()
    styles = [EXPANSION, *texts.styles] if texts.expand else list(texts.styles)
    record: Record = {
        "prompt": "\n".join(_trimmed((texts.prompt, *texts.extra_prompts))),
        "negative_prompt": "\n".join(
            _trimmed((texts.negative_prompt, *texts.extra_negative_prompts))
        ),
        "prompt_expansion": plan.expansion,
        "full_prompt": _trimmed((*texts.positives, *filter(None, (plan.expansion,)))),
        "full_negative_prompt": _trimmed(texts.negatives),
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
        "refiner_switch": _refiner_switch(plan, params),
        "sampler": plan.sampling.sampler,
        "scheduler": plan.sampling.scheduler,
        "vae": short_name(plan.vae),
        "seed": str(plan.seed),
        "metadata_scheme": params.metadata_scheme,
        "version": SOFTWARE,
    }
    record.update(_optional(plan, params))
    record.update(_hash_entries(plan, hashes))
    record.update(_lora_entries(plan, hashes))
    return record


def a1111_text(record: Mapping[str, object]) -> str:
    """The plain text that other tools read, of a record with Fooocus's keys."""
    values = dict(record)
    loras = list(loras_of(record))
    if loras:
        values["lora_hashes"] = ", ".join(f"{name}: {digest}" for name, _, digest in loras)
        values["lora_weights"] = ", ".join(f"{name}: {weight}" for name, weight, _ in loras)
    values["sampler"] = sampler_title(str(record["sampler"]), str(record["scheduler"]))
    width, height = numbers(record["resolution"])[:2]
    values["resolution"] = f"{width:.0f}x{height:.0f}"
    if not values.get("prompt_expansion"):
        values.pop("prompt_expansion", None)
    if values.get("refiner_model") == NO_MODEL:
        del values["refiner_model"]
        if "refiner_swap_method" not in values:
            values.pop("refiner_switch", None)
    positive = _encoded_text(values, "full_prompt", "prompt")
    negative = _encoded_text(values, "full_negative_prompt", "negative_prompt")
    pairs = (f"{label}: {_value_text(key, values[key])}" for label, key in LABELS if key in values)
    against = f"Negative prompt: {negative}\n" if negative else ""
    return f"{positive}\n{against}{', '.join(pairs)}"


def _encoded_text(values: Record, encoded: str, typed: str) -> str:
    """All encoded texts in a line, as A1111 shows them.

    Where they were left out, a typed prompt of one line takes their place, and is not given twice.
    """
    if isinstance(texts := values.get(encoded), list):
        return ", ".join(map(str, texts))
    text = str(values.get(typed, ""))
    if text != text.strip() or "\n" in text:
        return ""
    values.pop(typed, None)
    return text


def _trimmed(texts: Iterable[str]) -> list[str]:
    """Texts without blanks at their ends, which arrays leave; those inside are kept.

    A text of blanks alone stays: it is encoded, and one that is empty is not.
    """
    return [text.strip(" ") or text for text in texts]


def _refiner_switch(plan: ImagePlan, params: GenerateParams) -> float:
    """The share of the steps before the switch, as the run used it."""
    if plan.mode_lora:
        return 1.0
    return PATCH_UNTIL if plan.refines_itself else params.refiner_switch


def _optional(plan: ImagePlan, params: GenerateParams) -> Iterator[tuple[str, object]]:
    """What is recorded only where it differs from the default."""
    if plan.guidance.adaptive_cfg != GenerateParams().adaptive_cfg:
        yield "adaptive_cfg", plan.guidance.adaptive_cfg
    if plan.guidance.rescale:
        yield "guidance_rescale", plan.guidance.rescale
    if plan.engine:
        yield "engine", plan.engine.partition(" (")[0]
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


def _hash_entries(plan: ImagePlan, hashes: ModelHashes) -> Iterator[tuple[str, object]]:
    for key, name in (("base_model_hash", plan.model), ("refiner_model_hash", plan.refiner)):
        if name in hashes.models:
            yield key, hashes.models[name]
    tensors = {
        f"lora:{short_name(name)}": hashes.lora_tensors[name]
        for name, _ in plan.loras
        if name in hashes.lora_tensors
    }
    if tensors:
        model = {"model": hashes.models[plan.model]} if plan.model in hashes.models else {}
        yield "hashes", json.dumps(model | tensors, ensure_ascii=False)


def _lora_entries(plan: ImagePlan, hashes: ModelHashes) -> Iterator[tuple[str, object]]:
    """All LoRAs. ``performance_lora`` tells the few-step mode's own, which comes with the mode."""
    if plan.mode_lora:
        yield "performance_lora", short_name(plan.loras[-1][0])
    yield (
        "loras",
        [[short_name(name), weight, hashes.loras.get(name, "")] for name, weight in plan.loras],
    )
    for i, (name, weight) in enumerate(plan.loras, start=1):
        yield f"lora_combined_{i}", f"{short_name(name)} : {weight}"


def _value_text(key: str, value: object) -> str:
    text = str(value)
    if key in _BARE or not _WITHIN_QUOTES.search(text):
        return text
    return json.dumps(text, ensure_ascii=False)
