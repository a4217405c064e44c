"""Presets saved from request fields: Fooocus's keys, names, what stays as it is."""

import errno
import json
import os
from pathlib import Path

import pytest

from pipeline.errors import InvalidParameter, ModelNotFound
from pipeline.request.decode import GenerateParams, params_from
from pipeline.request.preset_files import PresetExists, PresetFiles, preset_of
from pipeline.request.presets import Preset, PresetStore

FIELDS = {
    "prompt": "a boat",
    "style_selections": ["Fooocus V2"],
    "base_model_name": "big.safetensors",
    "guidance_scale": 5.5,
    "loras": [{"enabled": True, "model_name": "soft.safetensors", "weight": 0.4}],
    "aspect_ratios_selection": "896*1152",
    "image_seed": 7,
}


@pytest.fixture
def store(tmp_path: Path) -> PresetStore:
    (tmp_path / "default.json").write_text("{}")
    return PresetStore(tmp_path)


def test_a_saved_preset_gives_a_request_its_fields_back(store: PresetStore) -> None:
    about = Preset(native_pixels=4096, checkpoint_downloads={"big.safetensors": "https://a/b"})
    PresetFiles(store).save("My boats", preset_of(FIELDS, about, "of mine"))
    on_disk = json.loads((store.folder / "My boats.json").read_text())
    assert on_disk["default_cfg_scale"] == 5.5
    assert on_disk["default_loras"] == [[True, "soft.safetensors", 0.4]]
    assert on_disk["checkpoint_downloads"] == about.checkpoint_downloads
    assert on_disk["native_pixels"] == 4096
    assert on_disk["note"] == "of mine"
    assert "image_seed" not in on_disk
    params = store.apply(GenerateParams(preset="My boats"), frozenset({"preset"}))
    wanted = params_from(FIELDS)
    for field in FIELDS.keys() - {"image_seed"}:
        assert getattr(params, field) == getattr(wanted, field)


def test_a_file_system_without_hard_links_takes_presets_too(
    store: PresetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    files, preset = PresetFiles(store), preset_of(FIELDS, Preset())
    files.save("one", preset)
    with pytest.raises(PresetExists):
        files.save("one", preset_of({"prompt": "other"}, Preset()))
    files.rename("one", "two")
    assert store.load("two").default_prompt == "a boat"
    assert [path.name for path in sorted(store.folder.iterdir())] == ["default.json", "two.json"]


def test_a_name_is_taken_once_and_the_start_preset_stays(store: PresetStore) -> None:
    files, preset = PresetFiles(store), preset_of(FIELDS, Preset())
    files.save("one", preset)
    with pytest.raises(PresetExists):
        files.save("one", preset)
    files.save("one", preset_of({"prompt": "other"}, Preset()), replace=True)
    assert store.load("one").default_prompt == "other"
    files.save("two", preset)
    with pytest.raises(PresetExists):
        files.rename("one", "two")
    files.rename("one", "three")
    assert store.names() == ["initial", "default", "three", "two"]
    with pytest.raises(PresetExists):
        files.delete("default")
    with pytest.raises(PresetExists):
        files.rename("default", "other")
    with pytest.raises(PresetExists):
        files.save("default", preset, replace=True)
    files.delete("three")
    with pytest.raises(ModelNotFound):
        files.delete("three")
    assert sorted(path.name for path in store.folder.iterdir()) == ["default.json", "two.json"]


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", ".x", "initial", "nul", "CON", "a\nb", "x" * 200]
)
def test_a_name_that_is_no_plain_one_is_refused(store: PresetStore, name: str) -> None:
    with pytest.raises(InvalidParameter):
        PresetFiles(store).save(name, preset_of(FIELDS, Preset()))
