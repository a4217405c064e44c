"""Hashes of model files: computed once, in the background, kept on disk by the file's identity."""

import hashlib
import os
import struct
from pathlib import Path

import pytest
from PIL import Image

from pipeline.engine.image_file import encode_described, model_hashes
from pipeline.files.hashes import HashCache
from pipeline.images.read import look_at, open_image
from pipeline.metadata.model_names import ModelNames, namesakes
from pipeline.metadata.read import read_metadata
from pipeline.metadata.record import ModelHashes
from pipeline.metadata.write import metadata_text, plan_record
from pipeline.request.decode import params_from
from pipeline.request.plan import ImagePlan, plan_images
from pipeline.request.prompts import PromptSources
from pipeline.request.resolved import resolve_params
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards

WAIT_S = 10.0
HEADER = b'{"__metadata__": {}}'
TENSORS = b"weights" * 50_000
LORA = struct.pack("<Q", len(HEADER)) + HEADER + TENSORS


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for folder, data in (("checkpoints", b"model"), ("loras", LORA)):
        (tmp_path / folder / "sub").mkdir(parents=True)
        (tmp_path / folder / "sub/a.safetensors").write_bytes(data)
    return tmp_path


def test_a_hash_is_known_once_it_has_been_computed(models: Path) -> None:
    cache = HashCache(models)
    assert cache.known("checkpoints", "sub/a.safetensors") is None
    assert cache.known("loras", "sub/a.safetensors") is None
    assert cache.wait(WAIT_S)
    model, lora = (cache.known(folder, "sub/a.safetensors") for folder in ("checkpoints", "loras"))
    assert model is not None
    assert lora is not None
    assert (model.short, model.short_tensors) == (sha(b"model")[:10], "")
    assert (lora.short, lora.short_tensors) == (sha(LORA)[:10], sha(TENSORS)[:12])


def test_a_hash_is_kept_on_disk_until_its_file_changes(models: Path) -> None:
    path = models / "checkpoints/sub/a.safetensors"
    first = HashCache(models)
    first.known("checkpoints", "sub/a.safetensors")
    assert first.wait(WAIT_S)
    again = HashCache(models)
    assert again.known("checkpoints", "sub/a.safetensors") is not None
    path.write_bytes(b"other")
    os.utime(path, ns=(1, 1))
    assert again.known("checkpoints", "sub/a.safetensors") is None
    assert again.wait(WAIT_S)
    known = again.known("checkpoints", "sub/a.safetensors")
    assert known is not None
    assert known.sha256 == sha(b"other")


def test_folders_and_missing_files_have_no_hash(models: Path) -> None:
    cache = HashCache(models)
    for name in ("none.safetensors", "sub", "../../etc"):
        assert cache.known("checkpoints", name) is None
    assert cache.wait(WAIT_S)


def test_a_folder_that_cannot_be_written_keeps_hashes_in_memory(
    models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (models / ".hashes.json").mkdir()  # no file can be put in its place
    cache = HashCache(models)
    cache.known("checkpoints", "sub/a.safetensors")
    assert cache.wait(WAIT_S)
    assert cache.known("checkpoints", "sub/a.safetensors") is not None
    assert ".hashes.json cannot be written" in caplog.text


def make_plan(folder: Path, **fields: object) -> ImagePlan:
    sources = PromptSources(StyleLibrary(folder), Wildcards(folder))
    asked = {"prompt": "a cat", "style_selections": [], "image_seed": 1, **fields}
    return plan_images(resolve_params(params_from(asked)), sources)[0]


def test_hashes_that_cannot_be_kept_on_disk_leave_no_file_behind(models: Path) -> None:
    (models / ".hashes.json").mkdir()
    before = sorted(models.iterdir())
    cache = HashCache(models)
    assert cache.known("checkpoints", "sub/a.safetensors") is None
    assert cache.wait(WAIT_S)
    assert cache.known("checkpoints", "sub/a.safetensors") is not None
    assert sorted(models.iterdir()) == before


def test_hashes_stand_in_the_texts_of_both_schemes(models: Path) -> None:
    name = "sub/a.safetensors"
    fields = {"base_model_name": name, "loras": [{"model_name": name, "weight": 0.5}]}
    plan, cache = make_plan(models, **fields), HashCache(models)
    assert model_hashes(plan, cache) == ModelHashes()
    assert cache.wait(WAIT_S)
    hashes = model_hashes(plan, cache)
    record = plan_record(plan, params_from(fields), hashes)
    assert record["base_model_hash"] == sha(b"model")[:10]
    assert record["loras"] == [["a", 0.5, sha(LORA)[:10]]]
    text = metadata_text(plan, params_from({**fields, "metadata_scheme": "a1111"}), hashes=hashes)
    assert f"Model hash: {sha(b'model')[:10]}" in text
    assert f'Lora hashes: "a: {sha(LORA)[:10]}"' in text
    assert f'"lora:a": "{sha(TENSORS)[:12]}"' in text


SAME = ("one/a.safetensors", "two/a.safetensors")


def write_namesakes(models: Path) -> None:
    """Two checkpoints and two LoRAs that differ in nothing but their folder and content."""
    for kind in ("checkpoints", "loras"):
        for name in SAME:
            (models / kind / name).parent.mkdir(parents=True, exist_ok=True)
            (models / kind / name).write_bytes(f"{kind}/{name}".encode())


def names_with(cache: HashCache, *known: str) -> ModelNames:
    """The namesakes, with the hashes of those ``known``."""

    def hashes(folder: str) -> dict[str, tuple[str, ...]]:
        found = {name: cache.known(folder, name) for name in known}
        return {name: (each.sha256, each.tensors) for name, each in found.items() if each}

    return ModelNames(SAME, SAME, (), hashes("checkpoints"), hashes("loras"))


@pytest.mark.parametrize("scheme", ["fooocus", "a1111"])
@pytest.mark.parametrize("used", SAME)
def test_of_two_files_of_one_name_the_one_that_was_used_is_read_back(
    tmp_path: Path, used: str, scheme: str
) -> None:
    write_namesakes(tmp_path)
    fields = {
        "base_model_name": used,
        "loras": [{"model_name": used, "weight": 0.5}],
        "metadata_scheme": scheme,
    }
    cache = HashCache(tmp_path)
    plan = make_plan(tmp_path, **fields)
    model_hashes(plan, cache)
    names_with(cache, *SAME)
    assert cache.wait(WAIT_S)
    text = metadata_text(plan, params_from(fields), hashes=model_hashes(plan, cache))
    (other,) = set(SAME) - {used}
    for known in ([used, other], [used], [other]):
        found = read_metadata(text, names_with(cache, *known))
        assert found["base_model_name"] == used
        assert [lora.model_name for lora in params_from(found).loras] == [used]


def test_of_two_files_of_one_name_the_folder_told_counts_before_the_first() -> None:
    names = ModelNames(SAME, SAME)
    assert namesakes(["b.safetensors", *SAME]) == list(SAME)
    assert names.checkpoint("a") == names.checkpoint("a", "0123456789") == SAME[0]
    assert names.checkpoint("two\\a.safetensors") == SAME[1]


LONG = "一只猫" * 5400  # nearly as long as a prompt may be


@pytest.mark.parametrize(
    ("output_format", "negative", "told"),
    [
        ("png", LONG, ""),
        ("webp", LONG, ""),
        ("jpg", "", "encoded texts were left out"),
        ("jpg", LONG, "carries no parameters"),
    ],
)
@pytest.mark.parametrize("scheme", ["fooocus", "a1111"])
def test_what_a_format_has_no_room_for_is_left_out_and_told(
    tmp_path: Path, output_format: str, negative: str, told: str, scheme: str
) -> None:
    asked = {"prompt": LONG, "negative_prompt": negative, "metadata_scheme": scheme}
    params = params_from({**asked, "output_format": output_format})
    record = plan_record(make_plan(tmp_path, **asked), params)
    file = encode_described(Image.new("RGB", (8, 8)), record, params)
    assert told in file.left_out
    assert bool(told) == bool(file.left_out)
    text = look_at(file.data).text
    if "no parameters" in told:
        assert text is None
    else:
        assert text is not None
        assert read_metadata(text.parameters)["prompt"] == LONG
    assert open_image(file.data).size == (8, 8)
