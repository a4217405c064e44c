"""Which models a request's task will find or fetch, and which stand in for a preset's."""

import json
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from pipeline.errors import ModelNotFound, ModelNotInstalled
from pipeline.files.catalog import ModelCatalog
from pipeline.files.locate import ModelFiles
from pipeline.files.resolve import Resolver, installed_default
from pipeline.request.decode import GenerateParams, decode_params
from pipeline.request.model_file import ModelFile
from pipeline.request.presets import PresetStore
from pipeline.request.resolved import ResolvedRequest
from pipeline.request.styles import StyleLibrary

URL = "https://example.com/new.safetensors"
PRESET = {
    "default_model": "new.safetensors",
    "previous_default_models": ["old.safetensors", "older.safetensors"],
    "checkpoint_downloads": {"new.safetensors": URL},
}


@pytest.fixture
def presets(tmp_path: Path) -> PresetStore:
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "p.json").write_text(json.dumps(PRESET))
    (tmp_path / "presets" / "start.json").write_text('{"default_model": "embedded"}')
    return PresetStore(tmp_path / "presets", "start")


def install(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def resolve(
    folder: Path,
    presets: PresetStore,
    asked: Mapping[str, object] | None = None,
    *,
    allowed: bool = True,
) -> ResolvedRequest:
    body = {"preset": "p", "style_selections": [], **(asked or {})}
    decoded = decode_params(json.dumps(body).encode())
    files = ModelFiles(ModelCatalog(folder / "models"), presets, allowed=allowed)
    resolver = Resolver(presets, StyleLibrary(folder), files)
    return resolver.resolve(decoded.params, decoded.present)


def settle(
    folder: Path,
    presets: PresetStore,
    asked: Mapping[str, object] | None = None,
    *,
    allowed: bool = True,
) -> GenerateParams:
    return resolve(folder, presets, asked, allowed=allowed).params


def test_a_presets_model_that_is_there_is_used(tmp_path: Path, presets: PresetStore) -> None:
    install(tmp_path, "checkpoints/new.safetensors", "checkpoints/old.safetensors")
    request = resolve(tmp_path, presets, allowed=False)
    assert request.params.base_model_name == "new.safetensors"
    assert "model" not in request.notes


def test_an_earlier_model_of_the_preset_stands_in_and_the_record_says_so(
    tmp_path: Path, presets: PresetStore
) -> None:
    install(tmp_path, "checkpoints/older.safetensors")
    request = resolve(tmp_path, presets)
    assert request.params.base_model_name == "older.safetensors"
    told = str(request.notes["model"])
    assert "new.safetensors" in told
    assert "older.safetensors" in told
    assert presets.describing(request.params).default_model == "new.safetensors"


def test_without_any_of_them_the_preset_is_fetched_or_refused(
    tmp_path: Path, presets: PresetStore
) -> None:
    assert settle(tmp_path, presets).base_model_name == "new.safetensors"
    with pytest.raises(ModelNotInstalled, match="new.safetensors.*" + URL):
        settle(tmp_path, presets, allowed=False)


def test_a_model_that_the_request_names_has_no_stand_in(
    tmp_path: Path, presets: PresetStore
) -> None:
    install(tmp_path, "checkpoints/old.safetensors")
    asked = {"base_model_name": "new.safetensors"}
    assert settle(tmp_path, presets, asked).base_model_name == "new.safetensors"
    with pytest.raises(ModelNotInstalled):
        settle(tmp_path, presets, asked, allowed=False)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"base_model_name": "x.safetensors"}, ("base_model_name",)),
        ({"refiner_model_name": "x.safetensors"}, ("refiner_model_name",)),
        ({"vae_name": "x.safetensors"}, ("vae_name",)),
        (
            {"loras": [{"enabled": True, "model_name": "x.safetensors", "weight": 1}]},
            ("loras", 0, "model_name"),
        ),
    ],
)
def test_a_name_that_nobody_knows_is_not_found(
    tmp_path: Path, presets: PresetStore, asked: dict[str, object], field: tuple[object, ...]
) -> None:
    install(tmp_path, "checkpoints/new.safetensors")
    with pytest.raises(ModelNotFound, match=r"x\.safetensors") as refused:
        settle(tmp_path, presets, asked)
    assert refused.value.field == field


def test_a_file_that_only_the_preset_names_is_the_servers_fault(
    tmp_path: Path, presets: PresetStore
) -> None:
    (tmp_path / "presets" / "q.json").write_text('{"default_model": "gone.safetensors"}')
    with pytest.raises(ModelNotInstalled, match=r"the preset needs.*gone\.safetensors"):
        settle(tmp_path, presets, {"preset": "q"})


def test_the_files_that_presets_name_are_known_to_every_request(
    tmp_path: Path, presets: PresetStore
) -> None:
    asked = {"preset": "start", "base_model_name": "new.safetensors"}
    assert settle(tmp_path, presets, asked).base_model_name == "new.safetensors"


def test_the_start_takes_the_first_model_of_a_preset_that_is_there(
    tmp_path: Path, presets: PresetStore
) -> None:
    catalog = ModelCatalog(tmp_path / "models")
    assert installed_default(presets.load("p"), catalog) is None
    assert installed_default(presets.load("start"), catalog) == "embedded"
    install(tmp_path, "checkpoints/old.safetensors", "checkpoints/older.safetensors")
    assert installed_default(presets.load("p"), catalog) == "old.safetensors"


@pytest.mark.parametrize(
    ("mode", "file"),
    [
        ("Extreme Speed", "sdxl_lcm_lora.safetensors"),
        ("Lightning", "sdxl_lightning_4step_lora.safetensors"),
        ("Hyper-SD", "sdxl_hyper_sd_4step_lora.safetensors"),
    ],
)
def test_a_few_step_mode_says_which_file_it_needs_and_where_from(
    tmp_path: Path, presets: PresetStore, mode: str, file: str
) -> None:
    install(tmp_path, "checkpoints/new.safetensors")
    asked = {"performance_selection": mode}
    with pytest.raises(ModelNotInstalled) as told:
        resolve(tmp_path, presets, asked, allowed=False)
    assert repr(mode) in str(told.value)
    assert f"{file} is not installed in models/loras" in str(told.value)
    assert f"/resolve/main/{file}" in str(told.value)
    assert "https://huggingface.co/" in str(told.value)
    to_fetch = resolve(tmp_path, presets, asked).files[-1]
    assert (to_fetch.folder, to_fetch.name) == ("loras", file)
    assert to_fetch.url.endswith(file)
    install(tmp_path, f"loras/{file}")
    assert resolve(tmp_path, presets, asked, allowed=False).files[-1] == ModelFile("loras", file)


def test_a_model_without_few_step_loras_needs_no_file(tmp_path: Path, presets: PresetStore) -> None:
    (tmp_path / "presets" / "q.json").write_text(
        '{"default_model": "new.safetensors", "few_step_lora": ""}'
    )
    install(tmp_path, "checkpoints/new.safetensors")
    asked = {"performance_selection": "Lightning", "preset": "q"}
    request = resolve(tmp_path, presets, asked, allowed=False)
    assert request.fast_mode is None
    assert [file.folder for file in request.files] == ["checkpoints"]


def test_every_file_that_a_request_names_is_looked_up_once(
    tmp_path: Path, presets: PresetStore
) -> None:
    for name in ("checkpoints/a.safetensors", "vae/v.pt", "loras/x.safetensors", "loras/y.pt"):
        install(tmp_path, name)
    slot = {"model_name": "x.safetensors", "weight": 1}
    asked = {
        "base_model_name": "a.safetensors",
        "refiner_model_name": "new.safetensors",
        "vae_name": "v.pt",
        "loras": [slot, slot],
        "prompt": "a cat <lora:y:0.5> <lora:x:1>",
    }
    assert resolve(tmp_path, presets, asked).files == (
        ModelFile("checkpoints", "a.safetensors"),
        ModelFile("checkpoints", "new.safetensors", URL),
        ModelFile("vae", "v.pt"),
        ModelFile("loras", "x.safetensors"),
        ModelFile("loras", "y.pt"),
    )


def test_a_resolved_request_crosses_to_another_process(
    tmp_path: Path, presets: PresetStore
) -> None:
    install(tmp_path, "checkpoints/new.safetensors")
    asked = {
        "inpaint_input_image": "/inputs/a.png",
        "outpaint_selections": ["Left"],
        "enhance_checkbox": True,
        "enhance_uov_method": "Vary (Strong)",
        "enhance_ctrls": [{"enhance_enabled": True, "enhance_mask_dino_prompt": "face"}],
    }
    request = resolve(tmp_path, presets, asked)
    assert len(request.stages) == 2
    sent = msgspec.msgpack.encode(request)
    assert msgspec.msgpack.decode(sent, type=ResolvedRequest) == request
    assert str(tmp_path).encode() not in sent  # files are named, so that they are found elsewhere


def test_a_stored_request_needs_no_preset_but_its_files(
    tmp_path: Path, presets: PresetStore
) -> None:
    install(tmp_path, "checkpoints/new.safetensors")
    first = resolve(tmp_path, presets)
    (tmp_path / "presets" / "p.json").unlink()
    stored = msgspec.to_builtins(first.params)
    assert resolve(tmp_path, presets, stored).params == first.params
    (tmp_path / "models/checkpoints/new.safetensors").unlink()
    with pytest.raises(ModelNotFound):
        resolve(tmp_path, presets, stored)
