"""Models beside the checkpoint under the same budgets: loaded once, told of, given back."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pipeline.errors import InvalidModelFile
from pipeline.files.catalog import ModelCatalog
from pipeline.files.locate import ModelFiles
from pipeline.memory.cache import Budgets
from pipeline.models.manager import ModelManager

CPU = torch.device("cpu")
SIZE = 4 * 100  # bytes of each model
HEADER = 100  # by which its file is larger, at most

Tell = Callable[[str, str, float | None], None]


class Network:
    """A model that is no module but has one."""

    def __init__(self, module: nn.Module) -> None:
        self.parts = (module,)


class Told:
    """Takes what loading tells; the rest of a reporter is not used here."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str]] = []

    def model(self, kind: str, name: str, seconds: float | None) -> None:
        if seconds is None:
            self.begun.append((kind, name))

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


class Shop:
    """A manager with room for ``models`` of the small ones, and what has left it."""

    def __init__(self, folder: Path, models: int) -> None:
        self.told = Told()
        self.left: list[tuple[str, str]] = []
        self._folder = folder
        files = ModelFiles(ModelCatalog(folder), allowed=False)
        budgets = Budgets(models * SIZE + HEADER, models * SIZE + HEADER)
        self.manager = ModelManager(files, CPU, budgets, lambda *model: self.left.append(model))

    def write(self, name: str, value: float = 1.0) -> Path:
        path = self._folder / name
        save_file({"weight": torch.full((10, 10), value)}, path)
        return path

    def get(self, kind: str, name: str) -> Network:
        path = self._folder / name
        if not path.exists():
            self.write(name)
        return self.manager.auxiliary(kind, name, path, load, reporter=self.told)


def load(path: Path) -> Network:
    module = nn.Linear(10, 10, bias=False)
    module.load_state_dict(load_file(path))
    return Network(module)


def test_a_model_is_read_once_and_told_with_its_kind(tmp_path: Path) -> None:
    shop = Shop(tmp_path, models=2)
    assert shop.get("upscaler", "up") is shop.get("upscaler", "up")
    assert shop.told.begun == [("upscaler", "up")]
    assert shop.manager.release() == ("up",)
    assert shop.left == [("upscaler", "up")]
    shop.get("upscaler", "up")
    assert shop.told.begun == [("upscaler", "up")] * 2


def test_kinds_do_not_get_in_each_others_way(tmp_path: Path) -> None:
    shop = Shop(tmp_path, models=2)
    assert shop.get("upscaler", "x") is not shop.get("control", "x")


def test_between_tasks_the_least_recently_used_leaves(tmp_path: Path) -> None:
    shop = Shop(tmp_path, models=2)
    for name in ("a", "b", "a", "c"):
        shop.manager.begin_task()
        shop.get("sam", name)
    assert shop.left == [("sam", "b")]
    assert shop.told.begun == [("sam", "a"), ("sam", "b"), ("sam", "c")]


def test_within_a_task_nothing_that_it_uses_leaves(tmp_path: Path) -> None:
    shop = Shop(tmp_path, models=1)
    first = shop.get("sam", "a")
    shop.get("sam", "b")
    assert shop.left == []
    assert shop.get("sam", "a") is first
    shop.manager.begin_task()
    shop.get("sam", "c")
    assert shop.left == [("sam", "b"), ("sam", "a")]


def test_what_a_task_is_done_with_may_leave(tmp_path: Path) -> None:
    shop = Shop(tmp_path, models=1)
    shop.get("sam", "a")
    shop.manager.done_with("sam", "a")
    shop.get("upscaler", "b")
    assert shop.left == [("sam", "a")]


def test_a_file_that_changed_is_read_again_and_the_old_model_goes(tmp_path: Path) -> None:
    shop = Shop(tmp_path, models=9)
    old = shop.get("sam", "a")
    path = shop.write("a", value=2.0)
    os.utime(path, ns=(1, 1))
    new = shop.get("sam", "a")
    assert new is not old
    assert new.parts[0].get_parameter("weight")[0, 0] == 2.0
    assert shop.left == [("sam", "a")]
    assert shop.manager.release() == ("a",)


def test_a_model_that_cannot_be_loaded_is_not_kept_and_may_be_tried_again(tmp_path: Path) -> None:
    shop = Shop(tmp_path, models=9)
    path = shop.write("a")

    def fail(path: Path) -> Network:
        raise InvalidModelFile(f"{path.name} is damaged")

    with pytest.raises(InvalidModelFile):
        shop.manager.auxiliary("sam", "a", path, fail)
    assert shop.manager.release() == ()
    assert isinstance(shop.get("sam", "a"), Network)


def test_a_model_of_no_modules_counts_by_its_file(tmp_path: Path) -> None:
    shop = Shop(tmp_path, models=2)
    path = shop.write("a")
    words = shop.manager.auxiliary("words", "a", path, Path.read_bytes)
    assert words == path.read_bytes()
    for name in ("b", "c"):
        shop.manager.begin_task()
        shop.get("sam", name)
    assert shop.left == [("words", "a")]
