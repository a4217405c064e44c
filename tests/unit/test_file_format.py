"""What a model file is said to be that is none, or one of another format, or cut short."""

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from pipeline.errors import InvalidModelFile
from pipeline.files.file_format import FileFormat, require_format
from tests.integration.tiny_vision import save_background

SAFETENSORS, TORCH, ONNX = FileFormat.SAFETENSORS, FileFormat.TORCH, FileFormat.ONNX

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 6938078334\n"
PAGE = b"\n<!-- cached -->\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"


def safetensors() -> bytes:
    made: bytes = save({"a": torch.ones(64, 64), "b": torch.ones(3)})
    return made


def torch_file() -> bytes:
    file = io.BytesIO()
    torch.save({"a": torch.ones(64, 64)}, file)
    return file.getvalue()


def onnx_file(folder: Path) -> bytes:
    return save_background(folder / "made.onnx", 8).read_bytes()


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("model.safetensors", safetensors())
    return file.getvalue()


def test_each_format_is_known_by_its_content_whatever_its_name_says(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    old = io.BytesIO()
    torch.save({"a": torch.ones(2)}, old, _use_new_zipfile_serialization=False)
    contents = {
        safetensors(): SAFETENSORS,
        save({}): SAFETENSORS,
        torch_file(): TORCH,
        old.getvalue(): TORCH,
        pickle.dumps({"a": 1}): TORCH,
        onnx_file(tmp_path): ONNX,
        b'{"a": 1}': FileFormat.JSON,
    }
    for data, wanted in contents.items():
        path.write_bytes(data)
        assert require_format(path, "model", *FileFormat) is wanted


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is empty; its download failed"),
        (bytes(9000), "full of zeros; its download did not finish"),
        (PAGE, "is a web page; download the file itself"),
        (b"\xef\xbb\xbf<HTML>", "is a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an XML document"),
        (POINTER, "a Git LFS pointer to a file of 6,938,078,334 bytes; fetch the file itself"),
        (POINTER[:60], "a Git LFS pointer; fetch the file itself"),
        (b'{"error": "Invalid credentials"}', "a JSON text"),
        (b"Entry not found", "a text of 15 bytes"),
        ("Nicht gefunden: 模型".encode() * 500, "a text of 11,000 bytes"),
        (b"GGUF\x03\0\0\0rest", "a GGUF file; use the model's safetensors file"),
        (b"\x1f\x8b\x08rest", "a gzip archive; unpack it"),
        (b"\x89PNG\r\n\x1a\n", "a PNG picture; it may be the model's preview"),
        (bytes(range(256)), "of an unknown format"),
    ],
)
def test_what_is_no_model_is_called_what_it_is(tmp_path: Path, data: bytes, told: str) -> None:
    path = tmp_path / "models" / "vae" / "x.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    for wanted in FileFormat:
        if b"{" in data[:1] and wanted is FileFormat.JSON:
            continue
        with pytest.raises(InvalidModelFile) as refused:
            require_format(path, "VAE", wanted)
        assert str(refused.value).startswith("the VAE x.safetensors is no ")
        assert told in str(refused.value)
        assert str(tmp_path) not in str(refused.value)


def test_an_archive_of_something_else_is_to_be_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(archive())
    with pytest.raises(InvalidModelFile, match="is a ZIP archive; unpack it"):
        require_format(path, "checkpoint", SAFETENSORS, TORCH)


@pytest.mark.parametrize("format_", [SAFETENSORS, TORCH, ONNX])
def test_a_cut_file_of_the_right_format_is_to_be_downloaded_again(
    tmp_path: Path, format_: FileFormat
) -> None:
    made = {SAFETENSORS: safetensors(), TORCH: torch_file(), ONNX: onnx_file(tmp_path)}[format_]
    path = tmp_path / "model"
    for kept in (len(made) // 2, len(made) - 1, 12):
        path.write_bytes(made[:kept])
        with pytest.raises(InvalidModelFile) as refused:
            require_format(path, "upscaler", format_)
        told = str(refused.value)
        assert f"the upscaler model is no {format_.value}: " in told
        assert "download it again" in told


def test_how_much_of_a_cut_file_is_there_is_told(tmp_path: Path) -> None:
    whole = safetensors()
    path = tmp_path / "m.safetensors"
    path.write_bytes(whole[:-100])
    told = f"{len(whole) - 100:,} of its {len(whole):,} bytes are there"
    with pytest.raises(InvalidModelFile, match=told):
        require_format(path, "checkpoint", SAFETENSORS)


@pytest.mark.parametrize("header", [b'{"a": 1}', b"{]", b'{"a": {"data_offsets": []}}'])
def test_a_damaged_header_is_told(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(InvalidModelFile, match="its header is damaged; download it again"):
        require_format(path, "checkpoint", SAFETENSORS)


def test_a_model_of_another_format_is_told_from_a_broken_one(tmp_path: Path) -> None:
    path = tmp_path / "u2net.onnx"
    path.write_bytes(safetensors())
    with pytest.raises(InvalidModelFile, match="no ONNX model: it is a safetensors file; use the"):
        require_format(path, "foreground model", ONNX)
    path.write_bytes(torch_file())
    with pytest.raises(
        InvalidModelFile, match=r"it is a pickle file .*; convert it to safetensors"
    ):
        require_format(path, "checkpoint", SAFETENSORS)


def test_the_length_in_a_header_is_not_believed_beyond_the_file(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**50], "data_offsets": [0, 2**52]}})
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode())
    with pytest.raises(InvalidModelFile, match="bytes are there"):
        require_format(path, "checkpoint", SAFETENSORS)
