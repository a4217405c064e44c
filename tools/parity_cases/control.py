"""Cases of control networks and of what they look at."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.adapters.control import Control, ControlledUNet, hint_tensor
from pipeline.adapters.control_lora import load_control
from pipeline.images.preprocessors import canny_pyramid, cpds, hwc3
from pipeline.images.resize import resize_cropped, resize_lanczos
from pipeline.sampling.diffusion import sample
from pipeline.sampling.noise import ImageNoise
from pipeline.sampling.sigmas import make_sigmas
from tools.parity_cases.compare import Results
from tools.parity_cases.fixtures import CPU, Case, Fixtures
from tools.parity_cases.padding import resize_padded
from tools.parity_cases.sampling import DEFAULTS, SIZES, make_denoiser, make_run
from tools.parity_cases.sizes import run_size

NETWORK: Final = "control_lora.safetensors"
RESIZES: Final[Mapping[str, Callable[[Image.Image, int, int], Image.Image]]] = {
    "resample": resize_lanczos,
    "resize.0": resize_lanczos,
    "resize.1": resize_cropped,
    "resize.2": resize_padded,
}


def controlled(case: Case, fixtures: Fixtures) -> Results:
    """A whole run with controls. Raises NotImplementedError."""
    unknown = case.params.keys() - DEFAULTS.keys() - SIZES - {"nets"}
    if unknown:
        raise NotImplementedError(f"nothing here honours {', '.join(sorted(unknown))} yet")
    params = {**DEFAULTS, **case.params}
    unet = fixtures.unet()
    network = load_control(fixtures.folder / NETWORK, unet, CPU)
    if any(net["start"] for net in params["nets"]):
        raise NotImplementedError("controls are at work from the first step")
    controls = [
        Control(network, _hint(case, fixtures, net), net["weight"], net["stop"])
        for net in params["nets"]
    ]
    denoiser = make_denoiser(case, fixtures, unet)
    softness = params["settings"]["controlnet_softness"]
    steered = ControlledUNet(unet, controls, softness, denoiser.model_sampling.levels)
    shape = run_size(case, fixtures).latent
    denoiser = replace(denoiser, unet=steered)
    settings = make_run(params)
    sigmas = make_sigmas(settings, denoiser.model_sampling.levels)
    noise = ImageNoise(settings.seed, shape)
    return {case.outputs[0]: sample(denoiser, settings, sigmas, noise, lambda _i, _d: None)}


def _hint(case: Case, fixtures: Fixtures, net: Mapping[str, Any]) -> Tensor:
    """The recorded hint has one channel, which stands for all three."""
    (grey,) = fixtures.tensors(case.file)[f"{net['hint']}_u8"].numpy()
    return hint_tensor(Image.fromarray(hwc3(grey)))


def preprocessed(case: Case, fixtures: Fixtures) -> Results:
    """Edges at each pair of thresholds that the outputs name, and structure."""
    pixels = fixtures.tensors(case.file)[case.inputs[0]].numpy()
    results: dict[str, Tensor] = {}
    for output in case.outputs:
        kind, *thresholds = output.removeprefix(f"{case.id}.").split(".")
        made = canny_pyramid(pixels, *map(int, thresholds)) if kind == "canny" else cpds(pixels)
        results[output] = torch.from_numpy(made)
    return results


def three_channels(case: Case, fixtures: Fixtures) -> Results:
    """RGBA as RGB."""
    pixels = fixtures.tensors(case.file)[case.inputs[0]].numpy()
    return {case.outputs[0]: torch.from_numpy(hwc3(pixels))}


def resampled(case: Case, fixtures: Fixtures) -> Results:
    """A picture at every size that the file holds, in each way of getting there."""
    figures = fixtures.tensors(case.file)
    picture = Image.fromarray(figures[case.inputs[0]].numpy())
    results: dict[str, Tensor] = {}
    for name in figures:
        way, _, size = name.rpartition(".")
        if way in RESIZES:
            made = RESIZES[way](picture, *map(int, size.split("x")))
            results[name] = torch.from_numpy(np.array(made))
    return results


RUNNERS = {
    "control.": controlled,
    "pre.": preprocessed,
    "hwc3": three_channels,
    "resample": resampled,
}
