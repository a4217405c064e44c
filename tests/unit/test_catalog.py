"""Names of model files and their paths."""

import os
import time
from pathlib import Path

import pytest

from pipeline.errors import ModelNotFound
from pipeline.files.catalog import CHECKPOINTS, LORAS, VAES, ModelCatalog
from pipeline.files.listing import FolderListing
from pipeline.files.locate import ModelFiles


def make_models(root: Path) -> ModelCatalog:
    for name in (
        "checkpoints/b.safetensors",
        "checkpoints/sub/A.safetensors",
        "checkpoints/old.ckpt",
        "checkpoints/.hidden.safetensors",
        "checkpoints/folder/model_index.json",
        "checkpoints/folder/unet/part.safetensors",
        "loras/l.safetensors",
        "vae/v.safetensors",
        "embeddings/e.safetensors",
        "secret.safetensors",
    ):
        path = root / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return ModelCatalog(root / "models")


def test_listings_hold_safetensors_files_and_diffusers_folders(tmp_path: Path) -> None:
    catalog = make_models(tmp_path)
    expected = ["embedded", "b.safetensors", "folder", "sub/A.safetensors"]
    assert catalog.checkpoints() == expected
    assert catalog.loras() == ["l.safetensors"]
    assert catalog.vaes() == ["Default (model)", "v.safetensors"]
    assert catalog.embeddings() == ["e.safetensors"]


def test_a_new_file_is_seen_at_the_next_call(tmp_path: Path) -> None:
    catalog = make_models(tmp_path)
    (tmp_path / "models/loras/new.safetensors").touch()
    assert catalog.has(LORAS, "new.safetensors")


def test_missing_folders_are_empty(tmp_path: Path) -> None:
    assert ModelCatalog(tmp_path / "nowhere").checkpoints() == ["embedded"]


def test_files_and_diffusers_folders_become_paths(tmp_path: Path) -> None:
    files = ModelFiles(make_models(tmp_path))
    for folder, name in (
        (CHECKPOINTS, "sub/A.safetensors"),
        (CHECKPOINTS, "folder"),
        (VAES, "v.safetensors"),
    ):
        file = files.look_up(folder, name, ("x",))
        assert files.require(file) == tmp_path / "models" / folder / name


def test_a_listing_is_read_again_only_when_a_folder_changes(tmp_path: Path) -> None:
    make_models(tmp_path)
    folder = tmp_path / "models" / "checkpoints"
    long_ago = time.time() - 60
    for each in (folder, folder / "sub", folder / "folder"):
        os.utime(each, (long_ago, long_ago))
    listing = FolderListing(folder, (".safetensors",), diffusers=True)
    names = listing.names()
    assert listing.names() is names
    (folder / "sub" / "new.safetensors").touch()
    assert "sub/new.safetensors" in listing.names()
    (folder / "folder" / "model_index.json").unlink()
    assert "folder" not in listing.names()
    assert "folder/unet/part.safetensors" in listing.names()


@pytest.mark.parametrize(
    "name",
    [
        "../secret.safetensors",
        "sub/../b.safetensors",
        "sub\\A.safetensors",
        "/etc/passwd",
        "b.safetensors\0",
        "./b.safetensors",
        "",
        "None",
        "old.ckpt",
        "nope",
        "x" * 5000,
    ],
)
def test_a_name_that_is_not_listed_is_refused_and_the_error_says_what_there_is(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(ModelNotFound, match=r"sub/A\.safetensors") as caught:
        ModelFiles(make_models(tmp_path)).look_up(CHECKPOINTS, name, ("base_model_name",))
    assert caught.value.field == ("base_model_name",)
    assert len(str(caught.value)) < 1000
    assert str(tmp_path) not in str(caught.value)


def test_the_owner_may_link_files_and_loops_of_links_end(tmp_path: Path) -> None:
    catalog = make_models(tmp_path)
    (tmp_path / "big.safetensors").touch()
    loras = tmp_path / "models/loras"
    (loras / "link.safetensors").symlink_to(tmp_path / "big.safetensors")
    (loras / "loop").symlink_to(loras)
    (loras / "gone.safetensors").symlink_to(tmp_path / "gone")
    assert catalog.loras() == ["l.safetensors", "link.safetensors"]
