"""Where vision models are looked for, and that a folder that is fetched is whole or none."""

from pathlib import Path

import pytest

from pipeline.errors import DownloadFailed, ModelNotInstalled
from pipeline.files.catalog import ModelCatalog
from pipeline.files.download import DownloadLimits
from pipeline.files.locate import ModelFiles
from pipeline.files.registry import CAPTIONER, DETECTOR
from pipeline.files.vision import VisionFiles
from tests.file_server import serve_files, status, whole

LIMITS = DownloadLimits(stall_seconds=5, retry_seconds=0.0, tries=1, spare_bytes=0)
CONTENT = (2).to_bytes(8, "little") + b"{}"  # the shortest safetensors file


def vision_files(models: Path, *, allowed: bool = False) -> VisionFiles:
    return VisionFiles(ModelFiles(ModelCatalog(models), allowed=allowed, limits=LIMITS))


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENT)
    return path


def test_an_owners_folder_counts_whatever_its_name(tmp_path: Path) -> None:
    touch(tmp_path / "blip" / "my-captions" / "config.json")
    assert vision_files(tmp_path).captioner() == tmp_path / "blip" / "my-captions"
    touch(tmp_path / "grounding_dino" / "config.json")
    assert vision_files(tmp_path).detector() == tmp_path / "grounding_dino"


def test_of_two_the_last_by_name_is_taken(tmp_path: Path) -> None:
    for size in ("large", "base"):
        touch(tmp_path / "blip" / f"blip-image-captioning-{size}" / "config.json")
    assert vision_files(tmp_path).captioner().name == "blip-image-captioning-large"


def test_a_folder_goes_before_a_single_file(tmp_path: Path) -> None:
    single = touch(tmp_path / "sam" / "sam_vit_h_4b8939.pth")
    assert vision_files(tmp_path).sam("vit_h") == single
    touch(tmp_path / "sam" / "sam-vit-huge" / "config.json")
    assert vision_files(tmp_path).sam("vit_h") == tmp_path / "sam" / "sam-vit-huge"
    checker = touch(tmp_path / "safety_checker" / "stable-diffusion-safety-checker.bin")
    assert vision_files(tmp_path).safety_checker() == checker
    touch(tmp_path / "safety_checker" / "config.json")
    assert vision_files(tmp_path).safety_checker() == tmp_path / "safety_checker"


def test_of_u2netp_there_is_a_packaged_copy_and_the_owners_file_goes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = vision_files(tmp_path).background("u2netp")
    assert (packaged.name, packaged.stat().st_size) == ("u2netp.onnx", 4_574_861)
    with pytest.raises(ModelNotInstalled, match=r"u2net\.onnx is not installed"):
        vision_files(tmp_path).background("u2net")
    own = touch(tmp_path / "rembg" / "u2netp.onnx")
    assert vision_files(tmp_path).background("u2netp") == own
    own.unlink()
    changed = touch(tmp_path / "changed" / "u2netp.onnx")
    monkeypatch.setattr("pipeline.files.packaged.packaged_file", lambda _package, _name: changed)
    with pytest.raises(ModelNotInstalled, match=r"u2netp\.onnx is not installed"):
        vision_files(tmp_path).background("u2netp")


def test_a_folder_is_fetched_file_by_file_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_files(CONTENT) as server:
        monkeypatch.setenv("HF_MIRROR", server.url)
        folder = vision_files(tmp_path, allowed=True).captioner()
        assert folder == tmp_path / CAPTIONER.folder
        assert sorted(path.name for path in folder.iterdir()) == sorted(CAPTIONER.names)
    assert vision_files(tmp_path).captioner() == folder  # the server is gone


def test_a_folder_that_broke_off_is_taken_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_files(CONTENT) as server:
        monkeypatch.setenv("HF_MIRROR", server.url)
        server.answers = [whole, status(404), whole]
        with pytest.raises(DownloadFailed):
            vision_files(tmp_path, allowed=True).detector()
        assert not (tmp_path / DETECTOR.folder / "config.json").exists()
        folder = vision_files(tmp_path, allowed=True).detector()
        assert {path.name for path in folder.iterdir()} == set(DETECTOR.names)
