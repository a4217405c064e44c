"""Which models stay on the device, which wait in main memory, which go."""

from typing import Any

import pytest
import torch
from torch import nn

from pipeline.memory.cache import GIB, Budgets, CacheEntry, ModelCache, choose_budgets

CUDA = torch.device("cuda")  # a name here; nothing is put on it
CPU = torch.device("cpu")
SIZE = 40  # bytes of a model


class Model(nn.Module):
    """Ten float32 weights that note where they are sent instead of going there."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(10), requires_grad=False)
        self.sent: list[str] = []

    def to(self, *where: Any, **_: Any) -> "Model":
        self.sent.append(where[0].type)
        return self


class Shop:
    """A cache and what has left its device."""

    def __init__(self, device: torch.device, on_device: int, in_ram: int = 0) -> None:
        self.left: list[str] = []
        budgets = Budgets(on_device * SIZE, in_ram * SIZE)
        self.cache = ModelCache(device, budgets, lambda entry: self.left.append(entry.name))

    def use(self, name: str, *, movable: bool = True) -> CacheEntry:
        """As a task of its own does that needs one model."""
        self.cache.end_use()
        entry = self.cache.find(name)
        if entry is None:
            self.cache.make_room(SIZE)
            model = Model()
            entry = CacheEntry("kind", name, model, [model] if movable else [])
            entry.size_bytes = SIZE
            self.cache.put(name, entry)
        elif not entry.on_device:
            self.cache.reload(entry)
        return entry

    def where(self) -> tuple[str, str]:
        """Names on the device and in main memory, the most recently used last."""
        names = ["", ""]
        for entry in self.cache.entries():
            names[not entry.on_device] += entry.name
        return names[0], names[1]


def test_the_least_recently_used_leaves_the_device_first() -> None:
    shop = Shop(CUDA, on_device=2, in_ram=9)
    for name in "abac":
        shop.use(name)
    assert shop.where() == ("ac", "b")
    assert shop.left == ["b"]


def test_a_model_in_main_memory_comes_back_by_a_copy() -> None:
    shop = Shop(CUDA, on_device=1, in_ram=9)
    first = shop.use("a")
    shop.use("b")
    assert first.value.sent == ["cpu"]
    assert shop.use("a") is first
    assert first.value.sent == ["cpu", "cuda"]
    assert shop.where() == ("a", "b")


def test_what_main_memory_cannot_hold_is_dropped_the_oldest_first() -> None:
    shop = Shop(CUDA, on_device=1, in_ram=2)
    for name in "abcd":
        shop.use(name)
    assert shop.where() == ("d", "bc")
    assert shop.left == ["a", "b", "c"]  # told when they left the device, and only then


def test_without_room_in_main_memory_models_are_dropped() -> None:
    shop = Shop(CUDA, on_device=1)
    for name in "ab":
        shop.use(name)
    assert shop.where() == ("b", "")


def test_what_cannot_be_moved_is_dropped() -> None:
    shop = Shop(CUDA, on_device=1, in_ram=9)
    shop.use("a", movable=False)
    shop.use("b")
    assert shop.where() == ("b", "")


@pytest.mark.parametrize("device", [CPU, torch.device("mps")])
def test_where_there_is_one_memory_one_budget_counts(device: torch.device) -> None:
    shop = Shop(device, on_device=2, in_ram=9)
    entries = [shop.use(name) for name in "abc"]
    assert shop.where() == ("bc", "")
    assert all(each.value.sent == [] for each in entries)


def test_what_a_task_uses_stays_whatever_the_budget() -> None:
    shop = Shop(CUDA, on_device=1, in_ram=9)
    shop.use("a")
    kept = shop.cache.find("a")
    for name in "bc":
        model = Model()
        shop.cache.make_room(SIZE)
        shop.cache.put(name, CacheEntry("kind", name, model, [model]))
    assert kept is not None
    assert shop.where() == ("abc", "")
    shop.cache.end_use(lambda entry: entry.name == "b")
    shop.cache.make_room(0)
    assert shop.where() == ("ac", "b")
    shop.use("c")
    shop.cache.make_room(0)
    assert shop.where() == ("c", "ab")


def test_a_model_larger_than_it_seemed_makes_others_leave() -> None:
    shop = Shop(CUDA, on_device=2, in_ram=9)
    shop.use("a")
    shop.cache.end_use()
    model = Model()
    large = CacheEntry("kind", "b", model, [model])
    large.size_bytes = 2 * SIZE
    shop.cache.put("b", large)
    assert shop.where() == ("b", "a")


def test_the_originals_of_changed_weights_count_where_they_lie() -> None:
    for device, expected in ((CPU, ("b", "")), (CUDA, ("ab", ""))):
        shop = Shop(device, on_device=2, in_ram=0)
        shop.use("a").backup_bytes = SIZE
        shop.use("b")
        assert shop.where() == expected


def test_all_of_them_can_be_dropped_at_once() -> None:
    shop = Shop(CUDA, on_device=1, in_ram=9)
    for name in "ab":
        shop.use(name)
    assert [entry.name for entry in shop.cache.drop(lambda _entry: True)] == ["a", "b"]
    assert shop.where() == ("", "")
    assert shop.left == ["a", "b"]


def test_a_models_size_is_that_of_its_weights_and_buffers() -> None:
    module = nn.BatchNorm1d(3)  # weights 2 * 3 * 4, running means 2 * 3 * 4, a count of 8
    assert CacheEntry("kind", "x", module, [module]).size_bytes == 56


def test_on_the_cpu_either_option_sets_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_budgets(CPU, 2.0).device_bytes == 2 * GIB
    assert choose_budgets(CPU, 2.0, 1.5).device_bytes == round(1.5 * GIB)
    monkeypatch.setattr("pipeline.memory.cache.memory_bytes", lambda: 10 * GIB)
    assert choose_budgets(CPU).device_bytes == 6 * GIB


@pytest.mark.parametrize(("total", "models"), [(24, 21), (8, 5), (4, 1.6)])
def test_an_accelerator_keeps_room_for_pictures(
    monkeypatch: pytest.MonkeyPatch, total: int, models: float
) -> None:
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda _device: (0, total * GIB))
    monkeypatch.setattr("pipeline.memory.cache.memory_bytes", lambda: 32 * GIB)
    assert choose_budgets(CUDA) == Budgets(round(models * GIB), 16 * GIB)
    assert choose_budgets(CUDA, 2.0, 4.0) == Budgets(2 * GIB, 4 * GIB)
