"""Textual inversions in the published kinds of file, in prompts of a small random model.

Each file holds the model's own vectors of a word, so that naming the file is saying the word.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.errors import InvalidModelFile
from pipeline.models.checkpoint import Checkpoint, load_checkpoint
from pipeline.text.tokenizer import find_tokenizer
from pipeline.weights.textual_inversion import InversionLibrary, named_inversions
from tests.integration.tiny_sdxl import make_weights, write_configs, write_folder

WORDS = "cat hat"

Write = Callable[[Path, Tensor, Tensor], None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("embeddings")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Checkpoint:
    model = tmp_path_factory.mktemp("model") / "m"
    configs = write_configs(model)
    write_folder(model, make_weights(configs))
    return load_checkpoint(model, torch.device("cpu"), InversionLibrary(folder))


@pytest.fixture(autouse=True)
def no_file_of_another_test(folder: Path) -> None:
    for path in folder.rglob("*.*"):
        path.unlink()


@cache
def tokens() -> list[int]:
    return list(find_tokenizer(None).tokens(WORDS))


def vectors(checkpoint: Checkpoint) -> tuple[Tensor, Tensor]:
    """Each encoder's vectors of the words."""
    clip_l, clip_g = (table_of(clip)[tokens()].clone() for clip in checkpoint.parts[1:3])
    return clip_l, clip_g


def table_of(clip: nn.Module) -> Tensor:
    """The vectors of all tokens."""
    names = (name for name, _ in clip.named_parameters())
    return clip.get_parameter(next(name for name in names if "token_embedding" in name))


def both_encoders(path: Path, clip_l: Tensor, clip_g: Tensor) -> None:
    save_file({"clip_l": clip_l, "clip_g": clip_g}, path.with_suffix(".safetensors"))


def both_encoders_pickled(path: Path, clip_l: Tensor, clip_g: Tensor) -> None:
    torch.save({"clip_g": clip_g, "clip_l": clip_l}, path.with_suffix(".pt"))


def saved(text: str, checkpoint: Checkpoint) -> tuple[Tensor, Tensor]:
    return checkpoint.text.encode_one(text, clip_skip=2)


def assert_same(checkpoint: Checkpoint, named: str, said: str) -> None:
    for one, other in zip(saved(named, checkpoint), saved(said, checkpoint), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("write", [both_encoders, both_encoders_pickled])
@pytest.mark.parametrize("ending", ["", "with it"])
def test_a_file_for_both_encoders_says_its_words(
    checkpoint: Checkpoint, folder: Path, write: Write, ending: str
) -> None:
    write(folder / "word", *vectors(checkpoint))
    name = next(folder.iterdir()).name if ending else "word"
    assert_same(checkpoint, f"a embedding:{name} here", f"a {WORDS} here")
    assert not torch.equal(saved("a here", checkpoint)[0], saved(f"a {WORDS} here", checkpoint)[0])


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("(embedding:word:1.2) here", f"({WORDS}:1.2) here"),
        ("(a embedding:word, big:0.7)", f"(a {WORDS}, big:0.7)"),
        ("(embedding:word)", f"({WORDS})"),
        ("((embedding:word))", f"(({WORDS}))"),
        ("embedding:word, embedding:word", f"{WORDS}, {WORDS}"),
    ],
)
def test_weights_and_commas_count_as_for_words(
    checkpoint: Checkpoint, folder: Path, named: str, said: str
) -> None:
    both_encoders(folder / "word", *vectors(checkpoint))
    assert_same(checkpoint, named, said)


@pytest.mark.parametrize("encoder", [0, 1])
@pytest.mark.parametrize("kind", ["string_to_param", "emb_params", "<cat-hat>", "one vector"])
def test_a_file_for_one_encoder_serves_the_one_that_it_fits(
    checkpoint: Checkpoint, folder: Path, encoder: int, kind: str
) -> None:
    learned = vectors(checkpoint)[encoder]
    if kind == "string_to_param":
        values = {"string_to_token": {"*": 265}, kind: {"*": learned}, "name": "word", "step": 100}
        torch.save(values, folder / "word.pt")
    elif kind == "<cat-hat>":
        torch.save({kind: learned}, folder / "word.bin")
    else:
        one = learned[0].clone() if kind == "one vector" else learned
        save_file({"emb_params": one}, folder / "word.safetensors")
    names = ("clip_l", "clip_g")
    library = InversionLibrary(folder)
    width, other = learned.shape[-1], vectors(checkpoint)[1 - encoder].shape[-1]
    found = library.vectors("word", names[encoder], width)
    assert found is not None
    assert torch.equal(torch.stack(list(found)), learned[: len(found)])
    assert library.vectors("word", names[1 - encoder], other) is None
    saved("a embedding:word here", checkpoint)  # the encoders may disagree on the length


def test_a_name_finds_files_below_the_folder_and_none_beside_it(
    checkpoint: Checkpoint, folder: Path
) -> None:
    (folder / "sub").mkdir()
    both_encoders(folder / "sub" / "deep", *vectors(checkpoint))
    both_encoders(folder.parent / "outside", *vectors(checkpoint))
    library = InversionLibrary(folder)
    assert library.path("deep") == folder / "sub" / "deep.safetensors"
    for name in ("../outside", str(folder.parent / "outside"), "outside", "", ".", "*"):
        assert library.path(name) is None


def test_a_file_below_the_folder_is_found_by_the_name_that_the_listing_shows(
    checkpoint: Checkpoint, folder: Path
) -> None:
    for place in ("sub", "b", "b/c"):
        (folder / place).mkdir(exist_ok=True)
        both_encoders(folder / place / "x", *vectors(checkpoint))
    library = InversionLibrary(folder)
    for name in ("sub/x", "b/x", "b/c/x"):
        assert library.path(name) == folder / f"{name}.safetensors"
        assert library.path(f"{name}.safetensors") == folder / f"{name}.safetensors"
    assert library.path("sub\\x") == folder / "sub" / "x.safetensors"
    assert library.path("c/x") is None
    assert_same(checkpoint, "a (embedding:b/c/x:1.2)", f"a ({WORDS}:1.2)")


def test_of_several_files_the_outermost_of_that_name_is_meant(
    checkpoint: Checkpoint, folder: Path
) -> None:
    for place in ("a/deep", "sub", "b"):
        (folder / place).mkdir(parents=True, exist_ok=True)
        both_encoders(folder / place / "x", *vectors(checkpoint))
    library = InversionLibrary(folder)
    assert library.path("x") == folder / "b" / "x.safetensors"
    both_encoders(folder / "x", *vectors(checkpoint))
    assert library.path("x") == folder / "x.safetensors"


@pytest.mark.parametrize("ending", [".bin", ".pt", ".ckpt", ".pth"])
def test_a_list_of_vectors_says_all_of_its_words(
    checkpoint: Checkpoint, folder: Path, ending: str
) -> None:
    clip_l, clip_g = vectors(checkpoint)
    half = len(clip_l) // 2
    entries = [{"<cat>": clip_l[:half], "<g>": clip_g[:half]}, {"<hat>": clip_l[half:]}, 3]
    torch.save([*entries, {"<more>": clip_g[half:]}], folder / f"word{ending}")
    assert_same(checkpoint, "a embedding:word here", f"a {WORDS} here")


def test_the_first_trainers_own_kind_of_file_is_read(checkpoint: Checkpoint, folder: Path) -> None:
    clip_l = vectors(checkpoint)[0]
    values = {"string_to_param": nn.ParameterDict({"*": nn.Parameter(clip_l)})}
    torch.save(values, folder / "word.pt")
    found = InversionLibrary(folder).vectors("word", "clip_l", clip_l.shape[-1])
    assert found is not None
    assert torch.equal(torch.stack(list(found)), clip_l)


def test_one_for_another_model_is_passed_over(checkpoint: Checkpoint, folder: Path) -> None:
    save_file({"clip_l": torch.ones(2, 1024)}, folder / "word.safetensors")
    assert_same(checkpoint, "a embedding:word here", "a here")


def test_a_damaged_file_is_named(checkpoint: Checkpoint, folder: Path) -> None:
    (folder / "word.safetensors").write_bytes(b"nothing")
    with pytest.raises(InvalidModelFile, match=r"word\.safetensors"):
        saved("embedding:word", checkpoint)


def test_a_pickle_that_runs_code_is_not_run(folder: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (str(tmp_path / "ran"),)

    torch.save({"clip_l": Evil()}, folder / "word.pt")
    with pytest.raises(InvalidModelFile, match=r"word\.pt"):
        InversionLibrary(folder).vectors("word", "clip_l", 16)
    assert not (tmp_path / "ran").exists()


def test_the_names_in_a_prompt_are_found() -> None:
    texts = ["a (embedding:one:1.2), embedding:two.pt, b", "embedding:one", "noembedding:three"]
    assert named_inversions(texts) == ("one", "two.pt")
