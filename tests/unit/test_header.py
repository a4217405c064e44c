"""What a model's file says of its training."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.files.header import HeaderCache, ModelHeader, model_header, read_metadata

DIRS = {
    "10_ohwx man": {"n_repeats": 10, "img_count": 20},
    "1_reg": {"n_repeats": 1, "img_count": 9},
}
TAGS = {"10_ohwx man": {"ohwx": 20, "smile": 7, " suit": 20}, "1_reg": {"man": 4}}


def kohya(**more: object) -> dict[str, str]:
    told = {"ss_dataset_dirs": DIRS, "ss_tag_frequency": TAGS, **more}
    return {
        name: each if isinstance(each, str) else json.dumps(each) for name, each in told.items()
    }


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"modelspec.trigger_phrase": " by artist\nx ", **kohya()}, ("by artist x",)),
        (kohya(), ("ohwx", "suit")),
        (kohya(ss_tag_frequency={"10_ohwx man": {"smile": 3}}), ("ohwx man", "reg")),
        (kohya(ss_tag_frequency=""), ("ohwx man", "reg")),
        (kohya(ss_datasets=[{"subsets": [{"class_tokens": "sks dog"}, {}]}, 3]), ("sks dog",)),
        ({"ss_tag_frequency": "[1", "ss_dataset_dirs": "[]", "ss_datasets": "{}"}, ()),
        ({}, ()),
    ],
)
def test_the_words_that_call_up_what_was_trained(
    metadata: dict[str, str], words: tuple[str, ...]
) -> None:
    assert model_header(metadata).trigger_words == words


@pytest.mark.parametrize(
    ("metadata", "base"),
    [
        ({"ss_base_model_version": "sdxl_base_v1-0"}, "SDXL 1.0"),
        ({"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}, "SDXL 1.0"),
        ({"ss_base_model_version": "sd_v1"}, "Stable Diffusion 1"),
        ({"modelspec.architecture": "Flux.1-dev/lora"}, "Flux.1-dev"),
        ({}, ""),
    ],
)
def test_the_family_that_it_was_trained_for(metadata: dict[str, str], base: str) -> None:
    assert model_header(metadata).base_model == base


@pytest.mark.parametrize(
    ("metadata", "resolution"),
    [
        ({"ss_resolution": "(1024, 1024)"}, "1024x1024"),
        ({"ss_resolution": "768"}, "768x768"),
        ({"modelspec.resolution": "1024x768"}, "1024x768"),
        ({"ss_resolution": "None"}, ""),
    ],
)
def test_the_size_of_its_training_pictures(metadata: dict[str, str], resolution: str) -> None:
    assert model_header(metadata).resolution == resolution


def test_a_checkpoint_that_it_began_from_is_named_without_its_folders() -> None:
    for path in ("C:\\models\\pony.safetensors", "/home/me/pony.safetensors", "pony.safetensors"):
        assert model_header({"ss_sd_model_name": path}).trained_on == "pony.safetensors"


def test_what_is_shown_is_bounded() -> None:
    told = {f"1_{'x' * 300}{i}": {"img_count": 1} for i in range(99)}
    words = model_header({"ss_dataset_dirs": json.dumps(told)}).trigger_words
    assert len(words) <= 24
    assert max(map(len, words)) <= 200


def test_a_header_is_read_again_when_its_file_has_changed(tmp_path: Path) -> None:
    path, cache = tmp_path / "l.safetensors", HeaderCache()
    for side in ("512", "1024"):
        save_file({"a": torch.ones(1)}, path, {"ss_resolution": side})
        os.utime(path, ns=(int(side), int(side)))
        assert cache.header(path).resolution == f"{side}x{side}"
    path.unlink()
    assert cache.header(path) == ModelHeader()


@pytest.mark.parametrize(
    "data", [b"", b"short", b"PK\x03\x04 and more", b"\xff" * 64, b"\x09" + bytes(7) + b"{not json"]
)
def test_a_file_of_another_format_says_nothing(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "l.safetensors"
    path.write_bytes(data)
    assert read_metadata(path) == {}
