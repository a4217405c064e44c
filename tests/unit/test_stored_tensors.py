"""Safetensors files read by ourselves are what the library reads, and leave nothing behind."""

import gc
import json
import struct
import sys
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pipeline.errors import InvalidModelFile
from pipeline.weights import stored
from pipeline.weights.stored import stored_tensors
from pipeline.weights.tensors import read_tensors

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]


def test_every_number_format_and_shape_is_as_the_library_reads_it(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "x.safetensors"
    values = torch.arange(24).reshape(2, 3, 4)
    tensors = {str(dtype): values.to(dtype) for dtype in DTYPES}
    tensors |= {"scalar": torch.tensor(3.5), "none": torch.empty(0, 4)}
    save_file(tensors, path, metadata={"format": "pt"})
    mapped, expected = stored_tensors(path), load_file(path)
    assert mapped.keys() == expected.keys()
    for name, tensor in expected.items():
        assert mapped[name].dtype == tensor.dtype
        assert mapped[name].shape == tensor.shape
        assert torch.equal(mapped[name].float(), tensor.float())


def test_numbers_at_uneven_places_are_read(tmp_path: Path, kind: str) -> None:
    header = json.dumps({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    header += b" " * (1 + -len(header) % 4)
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<2f", 1.5, -2.0))
    assert stored_tensors(path)["x"].tolist() == [1.5, -2.0]


def test_reading_changes_no_file_and_may_outlive_it(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.ones(4)}, path)
    before = path.read_bytes()
    tensor = stored_tensors(path)["x"]
    tensor += 1
    assert path.read_bytes() == before
    path.unlink()
    assert tensor.tolist() == [2.0] * 4


@pytest.fixture(params=["copied", "mapped"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """As on a machine with room for the file, and as on one without."""
    if request.param == "mapped":
        monkeypatch.setattr(stored, "memory_bytes", lambda: 0)
    return str(request.param)


@pytest.mark.parametrize("cut", [False, True])
def test_a_file_that_is_written_over_changes_no_tensor(tmp_path: Path, cut: bool) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.ones(2**16)}, path)
    tensor = stored_tensors(path)["x"]
    if cut:
        path.write_bytes(b"")  # a mapped tensor would take the process down
    else:
        save_file({"x": torch.zeros(2**16)}, tmp_path / "y")
        with path.open("r+b") as file:
            file.write((tmp_path / "y").read_bytes())
    assert torch.equal(tensor, torch.ones(2**16))


def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.ones(4), "y": torch.ones(4)}, path)
    copied = stored._copied

    def write_meanwhile(*given: object) -> torch.Tensor:
        save_file({"x": torch.zeros(4), "y": torch.zeros(4)}, path)
        return copied(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(stored, "_copied", write_meanwhile)
    with pytest.raises(InvalidModelFile, match="changed while it was read"):
        read_tensors(path)


def test_only_chosen_tensors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"vae.x": torch.ones(4), "unet.x": torch.ones(4)}, path)
    assert list(stored_tensors(path, lambda name: name.startswith("vae."))) == ["vae.x"]


@pytest.mark.parametrize("content", [b"", b"12345678", struct.pack("<Q", 2) + b"{]"])
def test_a_file_that_is_none_is_refused_as_by_the_library(
    tmp_path: Path, content: bytes, kind: str
) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises((SafetensorError, OSError)):
        stored_tensors(path)


def test_reading_again_and_again_leaves_nothing_behind(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.safetensors"
    save_file({f"t{i}": torch.ones(64, 64) for i in range(50)}, path)

    def left(times: int) -> int:
        before = sys.getallocatedblocks()
        for _ in range(times):
            stored_tensors(path)
        gc.collect()
        return sys.getallocatedblocks() - before

    left(10)
    # The interpreter's own caches grow once in a while; the library's reading leaves 1,000 always.
    assert min(left(10) for _ in range(3)) < 100
