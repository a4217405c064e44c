"""Loaded models and the memory they take, with the model that ships."""

import fcntl
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch

from pipeline.errors import InvalidModelFile
from pipeline.files.catalog import ModelCatalog
from pipeline.files.locate import ModelFiles
from pipeline.memory.cache import Budgets
from pipeline.models.manager import EMBEDDED_FOLDER, ModelManager
from pipeline.request.choices import EMBEDDED
from pipeline.weights.lease import ReadLease

WAIT_S = 20.0
STATUS = Path("/proc/self/status")
NO_ROOM = Budgets(1, 1)  # bytes: nothing stays that is not in use

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
]


def files_in(folder: Path) -> ModelFiles:
    return ModelFiles(ModelCatalog(folder), allowed=False)


def own_memory() -> int:
    """Bytes of this process that are no file's."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def weights(manager: ModelManager) -> int:
    unet = manager.checkpoint(EMBEDDED).unet.module
    return sum(weight.numel() * weight.element_size() for weight in unet.parameters())


def test_a_released_model_gives_its_memory_back_each_time(tmp_path: Path) -> None:
    manager = ModelManager(files_in(tmp_path), torch.device("cpu"))
    assert manager.release() == ()
    empty = []
    for _ in range(4):
        size = weights(manager)
        loaded = own_memory()
        assert manager.release() == (EMBEDDED,)
        empty.append(own_memory())
        assert loaded - empty[-1] > size // 2
    assert empty[-1] - empty[1] < size // 4  # the first times fill the libraries' own caches
    assert manager.release() == ()


def test_each_model_that_leaves_is_told(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "twin").symlink_to(EMBEDDED_FOLDER)
    gone: list[tuple[str, str]] = []
    device = torch.device("cpu")
    manager = ModelManager(
        files_in(tmp_path), device, NO_ROOM, on_unloaded=lambda *model: gone.append(model)
    )
    manager.checkpoint(EMBEDDED)
    manager.checkpoint(EMBEDDED)
    assert gone == []
    manager.begin_task()
    manager.checkpoint("twin")
    assert gone == [("checkpoint", EMBEDDED)]
    manager.release()
    assert gone == [("checkpoint", EMBEDDED), ("checkpoint", "twin")]


@pytest.fixture
def twin(tmp_path: Path) -> Path:
    """A copy of the model in a folder of its own, under the name ``twin``."""
    folder = tmp_path / "checkpoints" / "twin"
    shutil.copytree(EMBEDDED_FOLDER, folder)
    return folder


def test_new_weights_in_a_folder_are_loaded_whatever_their_time(tmp_path: Path, twin: Path) -> None:
    manager = ModelManager(files_in(tmp_path), torch.device("cpu"))
    first = manager.checkpoint("twin")
    assert manager.checkpoint("twin") is first
    part = twin / "vae" / "diffusion_pytorch_model.safetensors"
    shutil.copy2(part, tmp_path / "new")  # the same bytes with the same time
    (tmp_path / "new").rename(part)
    second = manager.checkpoint("twin")
    assert second is not first
    assert manager.checkpoint("twin") is second


def test_a_mapped_model_that_changes_in_use_ends_the_task_and_is_read_again(
    tmp_path: Path, twin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.weights.stored.memory_bytes", lambda: 0)
    manager = ModelManager(files_in(tmp_path), torch.device("cpu"))
    part = twin / "vae" / "diffusion_pytorch_model.safetensors"
    with part.open("r+b") as file:  # which rules out a lease
        first = manager.checkpoint("twin")
        manager.check_files()
        file.write(part.read_bytes())
    with pytest.raises(InvalidModelFile, match="twin was changed while it was used"):
        manager.check_files()
    assert manager.checkpoint("twin") is not first
    manager.check_files()


def test_who_wants_to_cut_a_mapped_file_waits_until_its_model_is_given_up(
    tmp_path: Path, twin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.weights.stored.memory_bytes", lambda: 0)
    manager = ModelManager(files_in(tmp_path), torch.device("cpu"))
    part = twin / "vae" / "diffusion_pytorch_model.safetensors"
    whole = part.read_bytes()
    first = manager.checkpoint("twin")
    with cutting(part) as other:
        with pytest.raises(InvalidModelFile, match="twin was changed while it was used"):
            until(partial(checked, manager))
        assert other.wait(WAIT_S) == 0
    part.write_bytes(whole)
    assert manager.checkpoint("twin") is not first


def test_without_leases_a_file_is_left_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("F_SETSIG", "F_SETLEASE", "F_GETLEASE"):
        monkeypatch.delattr(fcntl, name)  # as on macOS
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    lease = ReadLease(path)
    assert not lease.is_wanted
    lease.release()


def test_a_leased_file_is_whole_until_the_lease_is_released(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"whole")
    lease = ReadLease(path)
    assert not lease.is_wanted
    with cutting(path) as other:
        until(lambda: lease.is_wanted)
        assert (path.read_bytes(), other.poll()) == (b"whole", None)
        lease.release()
        assert other.wait(WAIT_S) == 0
    assert path.read_bytes() == b"cut"


@contextmanager
def cutting(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that opens a file to write over it."""
    program = f"open({str(path)!r}, 'wb').write(b'cut')"
    with subprocess.Popen([sys.executable, "-c", program]) as other:
        try:
            yield other
        finally:
            other.kill()


def checked(manager: ModelManager) -> bool:
    manager.check_files()
    return False


def until(fact: Callable[[], bool]) -> None:
    """Look again and again, as the steps of a task do."""
    end = time.monotonic() + WAIT_S
    while not fact():
        assert time.monotonic() < end
