"""Cases of the parameters text inside pictures, recorded as JSON."""

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from PIL import Image

from pipeline.images.encode import encode_image
from pipeline.metadata.read import ModelNames, read_metadata
from pipeline.metadata.record import Record
from pipeline.metadata.titles import LABELS
from pipeline.metadata.write import a1111_text, plan_record
from pipeline.request.choices import NO_MODEL, SAMPLER_NAMES
from pipeline.request.decode import GenerateParams, params_from
from pipeline.request.plan import STEPS, plan_images
from pipeline.request.resolved import resolve_params
from pipeline.sampling.noise_levels import DiscreteLevels
from pipeline.sampling.samplers import sampler_for
from tools.parity_cases.compare import LeftOut
from tools.parity_cases.requests import SOURCES, stand_in_hashes

# Pairs that only this server writes, after all that Fooocus writes.
_OWN_PAIRS: Final = ("refiner_switch", "styles", "prompt_expansion")
_NO_FIELD: Final = LeftOut("a request has no such field")
_TYPED: Final = LeftOut("texts whose styles are unknown are read as they were encoded")

# Fooocus's key -> the request's field, where the value is the same.
_SAME: Final[Mapping[str, str]] = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "performance": "performance_selection",
    "guidance_scale": "guidance_scale",
    "sharpness": "sharpness",
    "refiner_switch": "refiner_switch",
    "refiner_model": "refiner_model_name",
    "base_model": "base_model_name",
    "adaptive_cfg": "adaptive_cfg",
    "clip_skip": "clip_skip",
    "overwrite_switch": "overwrite_switch",
    "refiner_swap_method": "refiner_swap_method",
    "sampler": "sampler_name",
    "scheduler": "scheduler_name",
    "vae": "vae_name",
}


def texts(recorded: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Both schemes: the text of what was logged, and what the recorded text is read as."""
    full = {each["name"]: each["read_back"] for each in recorded if each["scheme"] == "fooocus"}
    return [
        {**each, "text": _text(each, full[each["name"]]), "read_back": _read_back(each)}
        for each in recorded
    ]


def _text(case: Mapping[str, Any], full: Mapping[str, Any]) -> str:
    """The text we write of the picture that was logged.

    The case makes its encoded texts and its program's name up; a plan has them from elsewhere.
    """
    logged = {key: value for _, key, value in case["log_list"]}
    params = _params(logged)
    (plan,) = plan_images(resolve_params(params), SOURCES)
    files = {plan.model, plan.refiner, *(name for name, _ in plan.loras)} - {NO_MODEL}
    hashes = stand_in_hashes(files)
    plan = msgspec.structs.replace(plan, expansion=logged["prompt_expansion"])
    record = plan_record(plan, params, hashes)
    record |= {key: full[key] for key in ("full_prompt", "full_negative_prompt")}
    record["version"] = logged["version"]
    if case["scheme"] == "a1111":
        return a1111_text({key: record[key] for key in record if key not in _OWN_PAIRS})
    return json.dumps(record, sort_keys=True)


def _params(logged: Mapping[str, Any]) -> GenerateParams:
    """The request whose picture was logged."""
    fields = {field: logged[key] for key, field in _SAME.items() if key in logged}
    width, height = json.loads(logged["resolution"].replace("(", "[").replace(")", "]"))
    return params_from(
        {
            **fields,
            "style_selections": json.loads(logged["styles"].replace("'", '"')),
            "aspect_ratios_selection": f"{width}*{height}",
            "image_seed": int(logged["seed"]),
            "metadata_scheme": logged["metadata_scheme"],
            "image_number": 1,
            "loras": [
                {"model_name": name, "weight": float(weight)} for name, weight in _loras(logged)
            ],
            "freeu_enabled": "freeu" in logged,
        }
    )


def _loras(logged: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in logged.items():
        if key.startswith("lora_combined_"):
            name, _, weight = value.rpartition(" : ")
            yield name, weight


def _read_back(case: Mapping[str, Any]) -> dict[str, Any]:
    """What the recorded text is read as, under the keys and in the types of the reference."""
    logged = {key: value for _, key, value in case["log_list"]}
    names = ModelNames(
        checkpoints=[logged["base_model"], logged["refiner_model"]],
        loras=[name for name, _ in _loras(logged)],
    )
    params = params_from(read_metadata(case["text"], names, SOURCES.styles.templates()))
    plain = case["scheme"] == "a1111"
    read = _read(params, plain=plain)
    known, levels = case["read_back"]["sampler"], DiscreteLevels()
    if sampler_for(known, levels) is sampler_for(params.sampler_name, levels):
        read["sampler"] = known  # one sampler by two names
    return {key: _as(read.get(key, _NO_FIELD), plain=plain) for key in case["read_back"]}


def _read(params: GenerateParams, *, plain: bool) -> dict[str, Any]:
    width, height = params.aspect_ratios_selection.split("*")
    steps = params.overwrite_step if params.overwrite_step > 0 else None
    adm = (params.adm_scaler_positive, params.adm_scaler_negative, params.adm_scaler_end)
    freeu = (params.freeu_b1, params.freeu_b2, params.freeu_s1, params.freeu_s2)
    loras = {
        f"lora_combined_{i}": f"{lora.model_name} : {lora.weight}"
        for i, lora in enumerate(params.loras, start=1)
    }
    values = {key: getattr(params, field) for key, field in _SAME.items()} | {
        "styles": str(list(params.style_selections)),
        "steps": steps or STEPS[params.performance_selection],
        "resolution": str((width, height) if plain else (int(width), int(height))),
        "adm_guidance": str(adm),
        "seed": str(params.image_seed),
        "freeu": str(freeu),
        **loras,
    }
    if plain:  # without styles in the text
        values |= {"styles": _TYPED, "prompt": _TYPED, "negative_prompt": _TYPED}
    else:  # the reference finds no file of this name, and says nothing
        values["vae"] = LeftOut("the reference loses the VAE's default name")
    return values


def _as(value: Any, *, plain: bool) -> Any:
    """The plain scheme gives texts, not numbers."""
    return value if isinstance(value, LeftOut) or not plain else str(value)


def label_value(text: str) -> str:
    """How a value is written after its label: the last pair of a text of nothing else."""
    label = {key: label for label, key in LABELS}["version"]
    return a1111_text({**_nothing(), "version": text}).rpartition(f"{label}: ")[2]


def without_karras() -> list[str]:
    """Samplers with a title of their own that does not tell the karras schedule."""
    titled = [name for name in SAMPLER_NAMES if _title(name, "normal") != name]
    return [name for name in titled if _title(name, "karras") == _title(name, "normal")]


def _title(sampler: str, scheduler: str) -> str:
    text = a1111_text({**_nothing(), "sampler": sampler, "scheduler": scheduler})
    return text.rpartition("Sampler: ")[2].partition(",")[0]


def sampler_titles() -> dict[str, str]:
    """Titles by sampler; empty where it keeps its own name."""
    titles = {name: _title(name, "normal") for name in SAMPLER_NAMES}
    return {name: title if title != name else "" for name, title in titles.items()}


def _nothing() -> Record:
    return {
        "sampler": "euler",
        "scheduler": "normal",
        "resolution": "(64, 64)",
        "full_prompt": [],
        "full_negative_prompt": [],
        "refiner_model": NO_MODEL,
    }


def exif(recorded: Mapping[str, str]) -> dict[str, Any]:
    """The tags of the main directory in a JPEG file, where the reference looks for them."""
    text, scheme = recorded["0x9286"], recorded["0x927c"]
    data = encode_image(Image.new("RGB", (16, 16)), "jpg", text, scheme)
    found = Image.open(io.BytesIO(data)).getexif()
    tags: dict[str, Any] = {tag: found.get(int(tag, 16)) for tag in recorded}
    if tags["0x131"]:
        tags["0x131"] = LeftOut("the program's own name")
    return tags
