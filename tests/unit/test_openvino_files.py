"""Exported checkpoints: whole or not at all, kept by a hash of their weights."""

import os
import subprocess
from pathlib import Path

import pytest

from pipeline.models import openvino_files
from pipeline.models.openvino_files import FOLDER, ExportFailed, IrFiles


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    return file


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_files, "_PROGRAM", "pipeline.no_such_program")


@pytest.mark.usefixtures("failing")
def test_a_failed_export_says_why_and_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="no_such_program"):
        IrFiles(tmp_path).folder_of(checkpoint, "1.0")
    assert list((tmp_path / FOLDER).iterdir()) == []


@pytest.mark.usefixtures("failing")
def test_what_a_killed_server_left_half_made_is_removed(checkpoint: Path, tmp_path: Path) -> None:
    old, new = (tmp_path / FOLDER / f"making-{name}" for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    with pytest.raises(ExportFailed):
        IrFiles(tmp_path).folder_of(checkpoint, "1.0")
    assert list((tmp_path / FOLDER).iterdir()) == [new]


@pytest.mark.usefixtures("failing")
def test_other_weights_and_another_version_are_exported_anew(
    checkpoint: Path, tmp_path: Path
) -> None:
    files = IrFiles(tmp_path)
    name = f"{openvino_files._digest(checkpoint)}-{openvino_files._FORMAT}-1.0"
    (tmp_path / FOLDER / name).mkdir(parents=True)
    assert files.folder_of(checkpoint, "1.0").name == name
    with pytest.raises(ExportFailed):
        files.folder_of(checkpoint, "2.0")
    checkpoint.write_bytes(b"other weights")
    with pytest.raises(ExportFailed):
        files.folder_of(checkpoint, "1.0")


def test_of_two_processes_that_export_the_same_both_use_what_the_first_has(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_is_first(program: list[str]) -> "subprocess.CompletedProcess[bytes]":
        (made,) = (tmp_path / FOLDER).glob("making-*")
        (made / "unet.xml").touch()
        first = tmp_path / FOLDER / f"{openvino_files._digest(checkpoint)}-1-1.0"
        first.mkdir()
        (first / "unet.xml").write_text("the first")
        return subprocess.CompletedProcess(program, 0, b"", b"")

    monkeypatch.setattr(openvino_files, "_run", other_is_first)
    folder = IrFiles(tmp_path).folder_of(checkpoint, "1.0")
    assert (folder / "unet.xml").read_text() == "the first"
    assert list((tmp_path / FOLDER).iterdir()) == [folder]


def test_a_checkpoint_that_is_gone_is_a_failed_export(tmp_path: Path) -> None:
    with pytest.raises(ExportFailed):
        IrFiles(tmp_path).folder_of(tmp_path / "gone.safetensors", "1.0")
