"""Which file serves beside a model, by what is installed."""

from pathlib import Path

import pytest

from pipeline.errors import ModelNotInstalled
from pipeline.files.auxiliary import AuxiliaryFiles, upscaler_of
from pipeline.files.catalog import ModelCatalog
from pipeline.files.locate import ModelFiles
from pipeline.files.registry import FACE_DETECTOR, INPAINT_HEAD, UPSCALER
from pipeline.request.choices import EMBEDDED
from pipeline.request.decode import params_from
from pipeline.request.model_file import ModelFile

SDXL = "sdxl.safetensors"


def auxiliary(folder: Path) -> AuxiliaryFiles:
    return AuxiliaryFiles(ModelFiles(ModelCatalog(folder), allowed=False))


def install(folder: Path, part: ModelFile, name: str = "") -> Path:
    path = folder / part.folder / (name or part.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize("model", [SDXL, EMBEDDED])
def test_the_face_detector_may_have_either_of_its_names(tmp_path: Path, model: str) -> None:
    files = auxiliary(tmp_path)
    with pytest.raises(ModelNotInstalled):
        files.require(FACE_DETECTOR, model)
    later = install(tmp_path, FACE_DETECTOR, "face_detection_yunet_2026may.onnx")
    files.check(FACE_DETECTOR, model)
    assert files.require(FACE_DETECTOR, model) == later
    first = install(tmp_path, FACE_DETECTOR)
    assert files.require(FACE_DETECTOR, model) == first


def test_the_embedded_model_uses_an_installed_upscaler(tmp_path: Path) -> None:
    files = auxiliary(tmp_path)
    assert files.require(UPSCALER, EMBEDDED).name == "upscaler_x2.safetensors"
    installed = install(tmp_path, UPSCALER)
    assert files.require(UPSCALER, EMBEDDED) == installed
    assert files.require(UPSCALER, SDXL) == installed


def test_what_is_made_for_sdxl_does_not_serve_the_embedded_model(tmp_path: Path) -> None:
    install(tmp_path, INPAINT_HEAD)
    assert auxiliary(tmp_path).require(INPAINT_HEAD, EMBEDDED).name == "inpaint_head.pth"


@pytest.mark.parametrize("model", [SDXL, EMBEDDED])
def test_a_named_upscaler_serves_any_model(tmp_path: Path, model: str) -> None:
    install(tmp_path, UPSCALER)
    named = upscaler_of(params_from({"upscale_model": "sub/realesr-general-x4v3.pth"}))
    with pytest.raises(ModelNotInstalled, match=r"realesr-general-x4v3\.pth"):
        auxiliary(tmp_path).check(named, model)
    path = install(tmp_path, named)
    auxiliary(tmp_path).check(named, model)
    assert auxiliary(tmp_path).require(named, model) == path
    assert upscaler_of(params_from({})) == UPSCALER
