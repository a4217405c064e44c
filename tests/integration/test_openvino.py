"""Pictures by OpenVINO: the first by torch, the others as exact as asked; torch for what it cannot.

Without openvino (requirements-openvino.txt) the tests that run it are skipped.
"""

import gc
import io
import json
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from pipeline.engine.cpu_engines import EngineMissing
from pipeline.engine.engine import Engine, load_engine
from pipeline.engine.options import EngineOptions
from pipeline.files.catalog import ModelCatalog
from pipeline.files.library import Library
from pipeline.files.locate import ModelFiles
from pipeline.images.embedded_text import read_text
from pipeline.images.read import open_image
from pipeline.models import openvino_files
from pipeline.models.openvino_runtime import is_installed
from pipeline.request.presets import PresetStore
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards
from tests.integration.test_engine import GIVEN, ROOT, Listener, make

WAIT_S = 110
BEHIND = "torch (OpenVINO is prepared behind the first picture)"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
with_openvino = pytest.mark.skipif(not is_installed(), reason="no openvino installed")


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    (folder / "checkpoints").mkdir()
    (folder / "loras").mkdir()
    return folder


@pytest.fixture(scope="module")
def presets() -> PresetStore:
    return PresetStore(ROOT / "presets", "embedded")


def engine_of(models_dir: Path, presets: PresetStore, **options: Any) -> Engine:
    library = Library(
        ModelFiles(ModelCatalog(models_dir), allowed=False),
        presets,
        StyleLibrary(ROOT / "sdxl_styles"),
        Wildcards(ROOT / "wildcards"),
    )
    return load_engine("cpu", library, options=EngineOptions(**options))


@pytest.fixture(scope="module")
def by_torch(models_dir: Path, presets: PresetStore) -> Engine:
    return engine_of(models_dir, presets)


@pytest.fixture(scope="module")
def exact(models_dir: Path, presets: PresetStore) -> Engine:
    return engine_of(models_dir, presets, cpu_engine="openvino")


def warmed(engine: Engine, presets: PresetStore, **asked: Any) -> Listener:
    """The second picture of a kind, made once its networks are prepared."""
    make(engine, presets, **asked)
    assert engine.wait_for_engines(WAIT_S)
    return make(engine, presets, **asked)


def pixels(listener: Listener) -> "np.ndarray[Any, np.dtype[np.float64]]":
    image = Image.open(io.BytesIO(listener.images[0].data))
    return np.asarray(image.convert("RGB"), np.float64)


def decibels(one: Listener, other: Listener) -> float:
    error = float(np.mean((pixels(one) - pixels(other)) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))


def recorded_engine(listener: Listener) -> object:
    text = read_text(open_image(listener.images[0].data))
    assert text is not None
    return json.loads(text.parameters).get("engine")


@with_openvino
def test_the_first_picture_is_torch_s_and_the_next_as_exact_as_rounding(
    by_torch: Engine, exact: Engine, presets: PresetStore
) -> None:
    expected = make(by_torch, presets)
    first = make(exact, presets)
    assert np.array_equal(pixels(first), pixels(expected))
    assert first.notes["engine"] == BEHIND
    assert recorded_engine(first) == "torch"
    assert exact.wait_for_engines(WAIT_S)
    second = make(exact, presets)
    assert second.notes["engine"] == "openvino exact"
    assert recorded_engine(second) == "openvino exact"
    assert decibels(second, expected) >= 80
    assert "engine" not in expected.notes
    assert recorded_engine(expected) is None


@with_openvino
def test_loras_work_with_it_and_leave_it_as_it_was(
    by_torch: Engine, exact: Engine, presets: PresetStore, models_dir: Path
) -> None:
    shape = (128, 128)
    generator = torch.Generator().manual_seed(5)
    base = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    save_file(
        {
            f"{base}.lora_up.weight": torch.randn(shape[0], 4, generator=generator),
            f"{base}.lora_down.weight": torch.randn(4, shape[1], generator=generator),
            f"{base}.alpha": torch.tensor(4.0),
        },
        models_dir / "loras" / "strong.safetensors",
    )
    lora = {"loras": [{"model_name": "strong.safetensors", "weight": 1.0}]}
    made = warmed(exact, presets, **lora)
    assert made.notes["engine"] == "openvino exact"
    assert decibels(made, make(by_torch, presets, **lora)) >= 80
    assert decibels(made, make(by_torch, presets)) < 60  # the LoRA shows
    plain = warmed(exact, presets)
    assert plain.notes["engine"] == "openvino exact"
    assert decibels(plain, make(by_torch, presets)) >= 80


@with_openvino
def test_fast_is_near_enough_not_to_be_seen(
    by_torch: Engine, models_dir: Path, presets: PresetStore
) -> None:
    fast = engine_of(models_dir, presets, cpu_engine="openvino", precision="fast")
    made = warmed(fast, presets, overwrite_step=12)
    assert str(made.notes["engine"]) in {"openvino fast", "openvino exact"}
    assert decibels(made, make(by_torch, presets, overwrite_step=12)) >= 45


@with_openvino
def test_what_hooks_on_layers_is_made_by_torch_which_the_record_says(
    by_torch: Engine, exact: Engine, presets: PresetStore
) -> None:
    made = warmed(exact, presets, freeu_enabled=True)
    assert made.notes["engine"] == "torch (FreeU works on the network's layers)"
    assert np.array_equal(pixels(made), pixels(make(by_torch, presets, freeu_enabled=True)))


@with_openvino
def test_controls_work_with_it_and_image_prompts_are_torch_s(
    by_torch: Engine, exact: Engine, presets: PresetStore
) -> None:
    hint = {"controlnet_image": [{"cn_img": GIVEN, "cn_type": "PyraCanny"}]}
    made, expected = warmed(exact, presets, **hint), make(by_torch, presets, **hint)
    assert made.notes["engine"] == "openvino exact"
    assert decibels(made, expected) >= 80
    assert decibels(made, make(by_torch, presets)) < 60  # the control shows
    prompt = {"controlnet_image": [{"cn_img": GIVEN, "cn_type": "ImagePrompt"}]}
    made = warmed(exact, presets, **prompt)
    assert made.notes["engine"] == "torch (image prompts work on the network's layers)"


@with_openvino
def test_compiled_networks_go_with_the_model(models_dir: Path, presets: PresetStore) -> None:
    engine = engine_of(models_dir, presets, cpu_engine="openvino")
    warmed(engine, presets)
    network = weakref.ref(engine._manager.checkpoint("embedded").unet)
    engine.release()
    gc.collect()
    assert network() is None


@with_openvino
def test_several_pictures_and_another_guidance(
    by_torch: Engine, exact: Engine, presets: PresetStore
) -> None:
    made = warmed(exact, presets, image_number=2, guidance_scale=1.0)
    assert made.notes["engine"] == "openvino exact"
    assert decibels(made, make(by_torch, presets, image_number=2, guidance_scale=1.0)) >= 80


@with_openvino
def test_an_export_that_fails_leaves_torch_and_says_why(
    tmp_path: Path, presets: PresetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_files, "_PROGRAM", "pipeline.no_such_program")
    (tmp_path / "checkpoints").mkdir()
    made = warmed(engine_of(tmp_path, presets, cpu_engine="openvino"), presets)
    assert "the export failed" in str(made.notes["engine"])
    assert "no_such_program" in str(made.notes["engine"])
    assert list((tmp_path / ".openvino").iterdir()) == []  # nothing half-made is left


@with_openvino
def test_importing_it_starts_no_telemetry() -> None:
    told = (
        "import sys, types; sys.modules.pop('openvino_telemetry', None);"
        "from pipeline.models.openvino_runtime import import_openvino; import_openvino();"
        "assert sys.modules['openvino_telemetry'] is None;"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry.')]"
    )
    subprocess.run([sys.executable, "-c", told], cwd=ROOT, check=True, timeout=100)


def test_asking_for_an_engine_that_is_not_there_is_an_error(
    models_dir: Path, presets: PresetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.engine.cpu_engines.is_installed", lambda: False)
    with pytest.raises(EngineMissing, match=r"requirements-openvino\.txt"):
        engine_of(models_dir, presets, cpu_engine="openvino")
    made = make(engine_of(models_dir, presets, cpu_engine="auto"), presets)
    assert "engine" not in made.notes
