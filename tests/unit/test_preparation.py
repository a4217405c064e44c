"""The preparation of OpenVINO's networks where a part of it fails or is missing. Without it."""

import gc
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from pipeline.engine import preparation
from pipeline.engine.preparation import Preparation, PreparationFailed
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.flat_networks import LatentShape
from pipeline.models.openvino_files import IrFiles
from pipeline.models.openvino_networks import DecoderSample, OpenVinoUNet, Shape, UNetSample
from pipeline.models.vae import Vae
from tests.unit.scheduling import WAIT_S


class ExactUNet(UNetSample):
    """A kept call that every network repeats."""

    def psnr(self, other: OpenVinoUNet) -> float:
        """The same, bit for bit."""
        return float("inf")


class Runtime:
    """OpenVINO's, of a processor with bfloat16."""

    version = "1.0"

    def __init__(self, threads: int) -> None:
        del threads

    def precision(self, asked: str) -> str:
        """As it was asked."""
        return asked


class Unnamed(Runtime):
    """One that fails without a word."""

    def precision(self, asked: str) -> str:
        """Fails."""
        raise RuntimeError


class ReadyFiles(IrFiles):
    """Every checkpoint has its folder."""

    def folder_of(self, checkpoint: Path, version: str) -> Path:
        """As ``IrFiles.folder_of``."""
        return checkpoint.with_name(version)


def of(tmp_path: Path, changed: dict[str, torch.Tensor]) -> Preparation:
    module = torch.nn.Linear(1, 1)
    checkpoint = SimpleNamespace(
        path=tmp_path / "model.safetensors",
        unet=SimpleNamespace(module=module),
        loras=SimpleNamespace(changed=lambda _module: changed),
    )
    return Preparation(
        checkpoint=cast(Checkpoint, checkpoint),
        shape=Shape(LatentShape(8, 8), 2, False),
        precision="fast",
        files=ReadyFiles(tmp_path),
        unet=ExactUNet(cast(Any, None)),
        decoder=DecoderSample(cast(Vae, None), (1, 4, 8, 8)),
    )


def test_a_failure_without_a_word_is_told_by_its_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "Runtime", Unnamed)
    prepared = of(tmp_path, {})
    prepared.begin()
    assert prepared.wait(WAIT_S)
    with pytest.raises(PreparationFailed, match="RuntimeError"):
        prepared.result()


def test_where_the_vae_decoded_nothing_torch_goes_on_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "Runtime", Runtime)
    monkeypatch.setattr(preparation, "compile_unet", lambda *_arguments: None)
    prepared = of(tmp_path, {})
    prepared.begin()
    assert prepared.wait(WAIT_S)
    networks = prepared.result()
    assert networks is not None
    assert networks.decoder is None


def test_the_weights_of_loras_are_kept_for_as_long_as_the_work_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "Runtime", Runtime)
    monkeypatch.setattr(preparation, "compile_unet", lambda *_arguments: None)
    weight = torch.zeros(4)
    kept = weakref.ref(weight)
    prepared = of(tmp_path, {"mid.weight": weight})
    del weight
    gc.collect()
    assert kept() is not None
    prepared.begin()
    assert prepared.wait(WAIT_S)
    gc.collect()
    assert kept() is None
