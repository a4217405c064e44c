"""Refiners in the model manager and in tasks."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pipeline.engine.engine import Engine
from pipeline.errors import InvalidModelFile, ModelNotFound
from pipeline.files.catalog import ModelCatalog
from pipeline.files.library import Library
from pipeline.files.locate import ModelFiles
from pipeline.images.embedded_text import read_text
from pipeline.images.read import open_image
from pipeline.memory.cache import Budgets
from pipeline.models.manager import ModelManager
from pipeline.request.presets import PresetStore
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards
from tests.integration.refiner_files import (
    CPU,
    ROOT,
    make,
    pixels,
    write_strange_file,
)

NO_ROOM = Budgets(1, 1)  # bytes: nothing stays that is not in use


class Told:
    """Takes what loading tells; the rest of a reporter is not used here."""

    def __init__(self) -> None:
        self.ready: list[tuple[str, str]] = []

    def model(self, kind: str, name: str, seconds: float | None) -> None:
        if seconds is not None:
            self.ready.append((kind, name))

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


@pytest.fixture
def catalog(tmp_path: Path, base_folder: Path, refiner_folder: Path) -> ModelCatalog:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name, target in (("a", base_folder), ("b", base_folder), ("r", refiner_folder)):
        (folder / name).symlink_to(target)
    return ModelCatalog(tmp_path)


def test_a_model_and_its_refiner_are_held_together_and_read_once(catalog: ModelCatalog) -> None:
    told, manager = Told(), ModelManager(ModelFiles(catalog, allowed=False), CPU, NO_ROOM)
    for _ in range(2):
        manager.begin_task()
        manager.checkpoint("a", told, "r")
        assert manager.refiner("r", told) is not None
    assert told.ready == [("checkpoint", "a"), ("refiner", "r")]
    manager.begin_task()
    manager.checkpoint("b", told, "r")
    manager.refiner("r", told)
    assert told.ready[2:] == [("checkpoint", "b")]
    assert manager.release() == ("b", "r")
    assert manager.release() == ()


def test_a_refiner_leaves_before_another_model_without_one_is_read(catalog: ModelCatalog) -> None:
    manager = ModelManager(ModelFiles(catalog, allowed=False), CPU, NO_ROOM)
    manager.checkpoint("a", None, "r")
    manager.refiner("r")
    manager.begin_task()
    manager.checkpoint("a")
    assert manager.refiner("None") is None
    manager.begin_task()
    manager.checkpoint("b")
    assert manager.release() == ("b",)


def test_a_refiner_that_is_not_there_is_named(catalog: ModelCatalog) -> None:
    with pytest.raises(ModelNotFound) as refused:
        ModelManager(ModelFiles(catalog, allowed=False), CPU).refiner("missing.safetensors")
    assert refused.value.field == ("refiner_model_name",)


@pytest.fixture
def engine(catalog: ModelCatalog, tmp_path: Path) -> Engine:
    library = Library(
        ModelFiles(catalog, allowed=False),
        PresetStore(ROOT / "presets", "embedded"),
        StyleLibrary(ROOT / "sdxl_styles"),
        Wildcards(tmp_path),
    )
    return Engine(library, CPU)


def test_a_request_names_its_refiner_and_the_picture_says_so(engine: Engine) -> None:
    plain = make(engine)
    refined = make(engine, refiner_model_name="r", refiner_swap_method="separate")
    assert pixels(refined) != pixels(plain)
    assert refined.models == [("r", False), ("r", True)]  # the model was there
    text = read_text(open_image(refined.images[0].data))
    assert text is not None
    record = json.loads(text.parameters)
    assert (record["refiner_model"], record["refiner_swap_method"]) == ("r", "separate")
    assert record["overwrite_switch"] == 2


def test_a_lora_goes_into_a_refiner_that_it_fits_and_is_left_out_of_another(
    engine: Engine, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    module = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    (tmp_path / "loras").mkdir()
    tensors = {
        f"{module}.lora_up.weight": torch.randn(64, 4),
        f"{module}.lora_down.weight": torch.randn(4, 48),
    }
    save_file(tensors, tmp_path / "loras" / "l.safetensors")
    asked = {"loras": [{"model_name": "l.safetensors", "weight": 1.0}]}
    alone = make(engine, **asked)
    twin = make(engine, **asked, refiner_model_name="b")  # the same weights under another name
    assert pixels(twin) == pixels(alone)
    assert pixels(alone) != pixels(make(engine))
    assert twin.notes["refiner_loras"] == ["l.safetensors at 1: 1 weights changed"]
    other = make(engine, **asked, refiner_model_name="r")
    assert "0 weights changed, 1 left out" in str(other.notes["refiner_loras"])
    assert pixels(other) != pixels(make(engine, refiner_model_name="r"))  # the base has it


def test_a_refiner_for_another_model_fails_its_task_and_the_next_one_works(
    engine: Engine, tmp_path: Path
) -> None:
    write_strange_file(tmp_path / "checkpoints" / "odd.safetensors")
    with pytest.raises(InvalidModelFile, match="77 wide"):
        make(engine, refiner_model_name="odd.safetensors")
    assert len(make(engine, refiner_model_name="r").images) == 1
