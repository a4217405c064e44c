"""Preset files, their precedence, and the presets that ship."""

import json
from pathlib import Path

import pytest

from pipeline.errors import ModelNotFound
from pipeline.request.decode import GenerateParams, decode_params
from pipeline.request.presets import (
    InvalidPreset,
    Preset,
    PresetStore,
    decode_preset,
    preset_values,
)

SHIPPED = Path(__file__).parents[2] / "presets"
START = {"default_cfg_scale": 5.0, "default_sample_sharpness": 1.0, "default_overwrite_step": 20}
OTHER = {"default_cfg_scale": 6.0, "default_model": "other.safetensors"}
FIELDS = {"default_cfg_scale": "guidance_scale", "default_sample_sharpness": "sharpness"}


def make_store(folder: Path) -> PresetStore:
    (folder / "start.json").write_text(json.dumps(START))
    (folder / "other.json").write_text(json.dumps(OTHER))
    return PresetStore(folder, initial="start")


def apply(store: PresetStore, body: bytes) -> GenerateParams:
    decoded = decode_params(body)
    return store.apply(decoded.params, decoded.present)


@pytest.mark.parametrize("name", PresetStore(SHIPPED).names())
def test_every_preset_that_ships_is_sound_and_complete(name: str) -> None:
    preset = PresetStore(SHIPPED).load(name)
    values = preset_values(preset)
    assert len(values) == 18  # so a shipped preset never takes a value from the start preset
    assert preset.default_aspect_ratio in preset.available_aspect_ratios
    links = {**preset.checkpoint_downloads, **preset.lora_downloads, **preset.vae_downloads}
    assert all(url.startswith("https://huggingface.co/") for url in links.values())
    assert all(url.endswith(f"/{file}") for file, url in links.items())


def test_the_embedded_preset_lists_the_sizes_it_was_trained_on() -> None:
    preset = PresetStore(SHIPPED).load("embedded")
    assert preset.native_sizes == ((256, 256), (320, 192), (192, 320))
    assert preset.few_step_lora == ""


def test_a_preset_without_native_pixels_makes_any_size() -> None:
    assert PresetStore(SHIPPED).load("default").native_sizes == ()


def test_the_request_goes_before_the_preset_before_the_start_preset(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    params = apply(store, b'{"preset": "other", "sharpness": 3}')
    assert params.sharpness == 3  # the request
    assert params.guidance_scale == 6.0  # its preset
    assert params.overwrite_step == 20  # the start preset
    assert params.clip_skip == 2  # the default


def test_a_value_equal_to_the_default_still_counts_as_given(tmp_path: Path) -> None:
    assert apply(make_store(tmp_path), b'{"guidance_scale": 4.0}').guidance_scale == 4.0


def test_a_mode_named_in_the_request_brings_its_own_steps(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    assert apply(store, b'{"performance_selection": "Lightning"}').overwrite_step == -1
    asked = b'{"performance_selection": "Lightning", "overwrite_step": 7}'
    assert apply(store, asked).overwrite_step == 7


def test_names_begin_with_the_start_presets_alias(tmp_path: Path) -> None:
    assert make_store(tmp_path).names() == ["initial", "other", "start"]


@pytest.mark.parametrize(
    "name", ["nope", "../start", "", "/etc/passwd", "a\\b", "a\0", "x" * 500, "\u540d" * 120]
)
def test_an_unknown_or_unsafe_name_is_not_found(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelNotFound, match="initial, other, start") as caught:
        make_store(tmp_path).load(name)
    assert caught.value.field == ("preset",)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"{", "truncated"),
        (b"\xff", "invalid"),
        (b"[]", "object"),
        (b'{"default_model": 3}', "default_model"),
        (b'{"default_cfg_scale": 99}', "default_cfg_scale"),
        (b'{"default_sampler": "x"}', "default_sampler"),
        (b'{"default_aspect_ratio": "x"}', "default_aspect_ratio"),
        (b'{"default_loras": [[true]]}', "default_loras"),
        (b'{"default_loras": [["a", "b", 1]]}', "default_loras"),
        (b'{"available_aspect_ratios": ["x"]}', "'x'"),
    ],
)
def test_a_broken_file_is_told_by_name_and_key(data: bytes, told: str) -> None:
    with pytest.raises(InvalidPreset, match=r"mine\.json") as caught:
        decode_preset(data, "mine.json")
    assert told in str(caught.value)


def test_loras_of_old_and_new_files_are_read_and_empty_slots_left_out() -> None:
    data = b'{"default_loras": [[false, "a", 0.5], ["b", 1], [true, "None", 1.0]], "other": 1}'
    loras = preset_values(decode_preset(data, "x.json"))["loras"]
    assert isinstance(loras, tuple)
    assert [(lora.enabled, lora.model_name, lora.weight) for lora in loras] == [
        (False, "a", 0.5),
        (True, "b", 1.0),
    ]


def test_facts_about_a_model_follow_the_model_and_not_the_preset_named(tmp_path: Path) -> None:
    store = PresetStore(SHIPPED, initial="embedded")
    embedded = GenerateParams(preset="anime", base_model_name="embedded")
    assert store.describing(embedded).native_sizes
    other = GenerateParams(preset="embedded", base_model_name="other.safetensors")
    assert store.describing(other) == Preset()


THIRD_PARTY = {
    "default_model": "theirs.safetensors",
    "default_cfg_scale": 0.0,
    "default_sampler": "dpmpp_2m_sde_heun",
    "default_scheduler": "beta",
    "default_sample_sharpness": 3.0,
    "default_aspect_ratio": "5000*10",
    "default_loras": [[True, "a.safetensors", 0.5], [True, "b.safetensors", 9.0], ["c", 1.0]],
    "available_aspect_ratios": ["1024*1024", "huge"],
    "default_theme": "dark",
}


def test_of_another_programs_preset_what_is_out_of_range_is_left_to_the_default_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = make_store(tmp_path)
    (tmp_path / "theirs.json").write_text(json.dumps(THIRD_PARTY))
    params = store.apply(GenerateParams(preset="theirs"), frozenset())
    assert (params.base_model_name, params.sharpness) == ("theirs.safetensors", 3.0)
    assert params.guidance_scale == START["default_cfg_scale"]
    assert params.sampler_name == GenerateParams().sampler_name
    assert [lora.model_name for lora in params.loras] == ["a.safetensors", "c"]
    assert store.load("theirs").available_aspect_ratios == ("1024*1024",)
    for key in ("default_cfg_scale", "default_sampler", "default_scheduler", "default_loras"):
        assert f"({key})" in caplog.text
    assert "default_theme" not in caplog.text


BAD_VALUES: tuple[str, ...] = (
    "NaN",
    "1e999",
    '"\\ud800"',
    "null",
    "true",
    "-1",
    "2.5",
    '""',
    '"\\u0000"',
    f'"{"x" * 99_999}"',
    "[]",
    "[[]]",
    "[null, 3, {}]",
    json.dumps(["a"] * 999),
    "[" * 300 + "]" * 300,
    "{}",
    '{"a": 1}',
    '{"a": {"b": ["c"]}}',
)


@pytest.mark.parametrize("value", BAD_VALUES, ids=lambda value: value[:12])
def test_no_value_of_one_key_costs_the_others(tmp_path: Path, value: str) -> None:
    store = make_store(tmp_path)
    for key in (*Preset.__struct_fields__, "default_engine"):
        good = "default_cfg_scale" if key != "default_cfg_scale" else "default_sample_sharpness"
        (tmp_path / f"{key}.json").write_text(f'{{"{key}": {value}, "{good}": 3.5}}')
        assert preset_values(store.load(key))[FIELDS[good]] == 3.5


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "theirs.json").write_bytes(b'\xef\xbb\xbf{"default_cfg_scale": 3.5}')
    assert make_store(tmp_path).load("theirs").default_cfg_scale == 3.5


def test_a_preset_that_is_no_json_is_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(InvalidPreset, match=r"broken\.json"):
        store.load("broken")
