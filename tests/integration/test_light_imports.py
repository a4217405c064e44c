"""What a process imports for a picture, seen from a fresh one."""

import subprocess
import sys
from typing import Final

import pytest

HEAVY: Final = ("torch._dynamo", "scipy", "sympy", "transformers.generation", "diffusers.loaders")
PICTURE: Final = """
import sys
from tools.embedded.painter import Painter
Painter("cpu", {"overwrite_step": 1})("a red star", 1)
"""
LOADED: Final = f"print([name for name in {HEAVY!r} if name in sys.modules])"
WHOLE: Final = """
import torch._dynamo
from pipeline.models import networks
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.transformers import FluxTransformer2DModel
print(AutoencoderKL is networks.AutoencoderKL, ControlNetModel is networks.ControlNetModel)
print(UNet2DConditionModel is networks.UNet2DConditionModel)
print(issubclass(FluxTransformer2DModel, PeftAdapterMixin), callable(torch._dynamo.optimize))
"""


def output_of(program: str) -> str:
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


@pytest.mark.slow
def test_a_picture_needs_no_compiler_no_scipy_and_no_text_generation() -> None:
    assert output_of(PICTURE + LOADED).splitlines()[-1] == "[]"


@pytest.mark.slow
def test_all_of_diffusers_can_be_imported_after_our_networks() -> None:
    program = "from pipeline.models import networks\n" + WHOLE
    assert set(output_of(program).split()) == {"True"}


@pytest.mark.slow
def test_our_networks_are_those_of_a_process_that_has_imported_all_of_diffusers() -> None:
    program = "from diffusers import UNet2DConditionModel\nimport torch._dynamo\n" + WHOLE
    assert set(output_of(program).split()) == {"True"}
