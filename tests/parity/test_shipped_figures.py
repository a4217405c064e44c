"""Figures recorded from Fooocus 2.5.5 that come with the repository; figures/README.md says how."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor

from pipeline.request.sampling import SamplingSettings
from pipeline.sampling.diffusion import sample
from pipeline.sampling.guidance import guide, positive_only
from pipeline.sampling.noise import ImageNoise
from pipeline.sampling.parametrisation import ModelSampling
from pipeline.sampling.sigmas import make_sigmas
from tools.parity import chosen_cases, run_case
from tools.parity_cases.compare import distance
from tools.parity_cases.fixtures import Case, Fixtures
from tools.parity_cases.units import read_guidance

FOLDER = Path(__file__).parent / "figures"
INDEX: dict[str, Any] = json.loads((FOLDER / "index.json").read_bytes())


@cache
def fixtures() -> Fixtures:
    return Fixtures(FOLDER)


def entries(kind: str) -> list[Any]:
    cases = [msgspec.convert(entry, Case) for entry in INDEX[kind]]
    return [pytest.param(case, id=case.id) for case in cases]


@pytest.mark.parametrize("case_id", [entry["id"] for entry in INDEX["cases"]])
def test_the_pipeline_agrees_with_the_reference(case_id: str) -> None:
    (case,) = chosen_cases(fixtures(), [case_id])
    verdict = run_case(case, fixtures())
    assert verdict.passed, verdict


class EndOfTrace(Exception):
    """More latents than the trace holds would be needed."""


class RecordedDenoiser:
    """Gives the recorded denoised latents in their order and keeps what it is asked about."""

    model_sampling = ModelSampling()

    def __init__(self, denoised: Tensor) -> None:
        self._denoised = iter(denoised.chunk(len(denoised)))
        self.asked: list[Tensor] = []

    def __call__(self, x: Tensor, _sigma: Tensor) -> Tensor:
        self.asked.append(x)
        try:
            return next(self._denoised)
        except StopIteration:
            raise EndOfTrace from None


@pytest.mark.parametrize("case", entries("traced"))
def test_a_sampler_arrives_at_the_reference_s_latents(case: Case) -> None:
    figures = fixtures().tensors(case.file)
    denoised, latents = (figures[name] for name in case.outputs[1:])
    denoiser = RecordedDenoiser(denoised)
    asked = {name: case.params[name] for name in ("sampler", "scheduler", "steps", "seed")}
    noise = ImageNoise(case.params["seed"], tuple(latents[:1].shape))
    settings = SamplingSettings(**asked)
    sigmas = make_sigmas(settings, denoiser.model_sampling.levels)
    with pytest.raises(EndOfTrace):
        sample(denoiser, settings, sigmas, noise, lambda _index, _denoised: None)
    assert len(denoiser.asked) == len(latents) + 1
    for ours, figure in zip(denoiser.asked, latents, strict=False):
        assert distance(ours[0], figure).relative <= case.tolerance


@pytest.mark.parametrize("case", entries("guided"))
def test_two_guesses_become_the_reference_s_one(case: Case) -> None:
    figures = fixtures().tensors(case.file)
    x = figures[case.inputs[0]]
    negative, positive = figures[f"{case.inputs[0]}0"].chunk(2)
    guidance = read_guidance(case.params)
    assert not positive_only(guidance)
    progress = ModelSampling().levels.progress(torch.tensor(case.params["sigma"]))
    made = guide(x, positive, negative, guidance, progress)
    assert distance(made, figures[case.outputs[0]]).relative <= case.tolerance
