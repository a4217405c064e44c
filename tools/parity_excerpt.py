"""Cuts a small folder out of a folder of reference figures: what needs no UNet, about a megabyte.

``python -m tools.parity_excerpt FOLDER OUT`` writes an index, figures and networks that
``tools/parity.py`` runs, and traces of samplers and guidance, whose denoised latents stand in for
the UNet's (tests/parity/test_shipped_figures.py).
"""

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tools.parity_cases.compare import wanted_figures
from tools.parity_cases.fixtures import ROWS, Case, Fixtures
from tools.parity_cases.text import make_encoder

CASES: Final = (
    "units.model_sampling",
    "units.noise.12345",
    "units.noise.9223372036854775807",
    "units.brownian.12345",
    "units.adm.1152x896.positive",
    "units.adm.1152x896.negative",
    "units.adm.refiner",
    "units.timed_adm",
    "units.freeu.64x8x6",
    "aniso.17x25",
    "sigmas.karras",
    "text.1",
    "text.5",
    "text.21",
    "text.encode.two_top2",
    "vae.encode",
    "vae.decode",
)
TRACED: Final = ("sampler.euler.neutral", "sampler.dpmpp_2m_sde_gpu.neutral")
GUIDED: Final = (
    "units.guidance.6.5.default_cfg4",
    "units.guidance.0.7.default_cfg12",
    "units.guidance.0.7.sharp30_cfg30_mimic1",
)
_SHARED: Final = ("in.pos_pooled", "in.neg_pooled", "in.init_latent")
_EXPLAINED: Final = ("weights", "inputs", "latents", "tolerance", "default_case", "settings")
_PADDING: Final = (0, 49406, 49407)  # CLIP-G's padding, start and end of text


def excerpt(source: Path, out: Path) -> None:
    """Write the excerpt of ``source`` into ``out``, which must not be there yet."""
    fixtures = Fixtures(source)
    index = json.loads((source / "index.json").read_bytes())
    entries = {each["id"]: each for each in index["cases"]}
    cases = {case.id: case for case in fixtures.cases}
    out.mkdir(parents=True)
    kept: dict[str, dict[str, Tensor]] = {"units.safetensors": {}}
    for name in (*CASES, *TRACED, *GUIDED):
        _keep(cases[name], fixtures, kept)
    for name in _SHARED:
        kept["units.safetensors"][name] = fixtures.unit(name)
    for file, figures in kept.items():
        save_file(figures, out / file)
    save_file(load_file(source / "vae.safetensors"), out / "vae.safetensors")
    tokens = _token_numbers(fixtures, cases)
    encoders = _with_rows(load_file(source / "text_encoders.safetensors"), tokens)
    save_file(encoders, out / "text_encoders.safetensors")
    models = fixtures.json("models.json")
    parts = {name: models[name] for name in ("storage", "unet", "vae", "clip_l", "clip_g")}
    _write(out / "models.json", parts)
    _write(out / "text_tokens.json", _tokens(fixtures))
    head = {name: index[name] for name in ("what", "versions")}
    head["how_to_read"] = {name: index["how_to_read"][name] for name in _EXPLAINED}
    chosen = {
        "cases": [entries[name] for name in CASES],
        "traced": [entries[name] for name in TRACED],
        "guided": [entries[name] for name in GUIDED],
    }
    _write(out / "index.json", head | chosen)
    for path in out.iterdir():
        path.chmod(0o644)  # safetensors writes for the owner alone


def _keep(case: Case, fixtures: Fixtures, kept: dict[str, dict[str, Tensor]]) -> None:
    """A case's inputs and outputs; of a guided call also the two latents that it is made of."""
    figures = fixtures.tensors(case.file)
    names = [*wanted_figures(case, figures), *(each for each in case.inputs if each in figures)]
    if case.id in TRACED:
        names.remove(case.outputs[0])  # the end of a run needs the network
    if case.id in GUIDED:
        names.append(f"{case.inputs[0]}0")
    kept.setdefault(case.file, {}).update({name: figures[name] for name in names})


def _token_numbers(fixtures: Fixtures, cases: Mapping[str, Case]) -> list[int]:
    """Every token that the texts of the kept cases hold."""
    encoder, numbers = make_encoder(fixtures), set(_PADDING)
    for params in (cases[name].params for name in CASES if name.startswith("text.")):
        for text in params.get("texts") or [params["prompt"]]:
            sections = encoder.sections(text, "clip_l")
            numbers.update(int(value) for section in sections for value in section.values)
    return sorted(numbers)


def _tokens(fixtures: Fixtures) -> list[Any]:
    """The recorded tokens by number; those of other cases are left empty."""
    wanted = {int(name.removeprefix("text.")) for name in CASES if name[5:].isdecimal()}
    recorded = fixtures.json("text_tokens.json")
    return [each if number in wanted else None for number, each in enumerate(recorded)]


def _with_rows(tensors: Mapping[str, Tensor], rows: Iterable[int]) -> dict[str, Tensor]:
    """Token tables with these rows alone, and their numbers beside them."""
    numbers = torch.tensor(list(rows), dtype=torch.int32)
    result = dict(tensors)
    for name, table in tensors.items():
        if name.endswith("token_embedding.weight"):
            result[name] = table.view(torch.uint8)[numbers.long()].view(table.dtype)
            result[name + ROWS] = numbers.clone()
    return result


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    """Cut the excerpt that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="a folder with an index.json of figures")
    parser.add_argument("out", type=Path, help="a folder that is not there yet")
    asked = parser.parse_args()
    excerpt(asked.folder, asked.out)


if __name__ == "__main__":
    main()
