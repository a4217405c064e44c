"""Continuing prompts with a small random GPT-2 in the published layout."""

import json
import pickle
from pathlib import Path

import pytest
import torch

from pipeline.errors import InvalidModelFile
from pipeline.request.plan import ImagePlan
from pipeline.text.expansion import SECTION, PromptExpansion, expand
from pipeline.text.expansion_files import ExpansionFiles, find_expansion, load_expansion
from tests.integration.tiny_expansion import WORDS, make_table, write_expansion
from tests.plans import PLAN, changed

ASKED = changed(PLAN, prompt="a cat", expand=True, seed=7)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prompt_expansion")
    write_expansion(folder / "fooocus_expansion")
    return folder


@pytest.fixture(scope="module")
def files(root: Path) -> ExpansionFiles:
    return load_expansion(root / "fooocus_expansion")


def added(text: str, prompt: str = "a cat") -> list[str]:
    assert text.startswith(prompt)
    return [word.strip() for word in text.removeprefix(prompt).replace(",", " ").split()]


def test_the_prompt_is_continued_with_words_of_the_list_each_once(files: ExpansionFiles) -> None:
    words = added(expand(files, "a cat", 7))
    assert sorted(words) == sorted(WORDS)  # there is room for all of them


def test_a_prompt_and_a_seed_give_the_same_words_and_another_seed_others(
    files: ExpansionFiles,
) -> None:
    first = expand(files, "a cat", 7)
    torch.manual_seed(99)  # nothing global counts
    torch.randn(3)
    assert expand(files, "a cat", 7) == first
    assert expand(files, "a cat", 7 + 2**32) == first  # the seed counts modulo 2^32
    assert len({expand(files, "a cat", seed) for seed in range(8)}) > 1


def test_the_global_generator_is_left_alone(files: ExpansionFiles) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    expand(files, "a cat", 7)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_word_that_the_prompt_has_is_not_added_again(files: ExpansionFiles) -> None:
    words = added(expand(files, "a cat, sharp light", 7), "a cat, sharp light")
    assert sorted(words) == sorted(set(WORDS) - {"sharp"})


def test_without_a_list_the_text_fills_its_section_of_75_tokens(tmp_path: Path) -> None:
    write_expansion(tmp_path / "free", words=None)
    files = load_expansion(tmp_path / "free")
    lengths = []
    for seed in range(4):
        text = expand(files, "a cat", seed)
        assert text.startswith("a cat, ")
        lengths.append(len(files.tokenizer(text)["input_ids"]))
    assert max(lengths) > SECTION // 2


def test_a_prompt_that_fills_its_section_is_not_continued(files: ExpansionFiles) -> None:
    full = "a" * (SECTION - 1)  # a letter is a token, the comma is the last one
    assert expand(files, full, 7) == full
    assert expand(files, full + "a", 7) != full + "a"


def test_a_prompt_longer_than_the_model_can_read_is_continued_from_its_end(
    tmp_path: Path,
) -> None:
    write_expansion(tmp_path / "short", positions=80)
    files = load_expansion(tmp_path / "short")
    prompt = "b" * 200
    assert set(added(expand(files, prompt, 7), prompt)) <= set(WORDS)


def test_only_a_plan_that_asks_for_it_is_expanded(root: Path) -> None:
    expansion = PromptExpansion(root)
    filled = expansion.fill(ASKED)
    assert filled.expansion.startswith("a cat, ")
    assert filled.texts.positives == ASKED.texts.positives
    assert expansion.fill(changed(ASKED, expand=False)).expansion == ""
    assert expansion.fill(changed(ASKED, prompt=" ")).expansion == ""


def test_a_known_expansion_needs_no_model(tmp_path: Path) -> None:
    known = PromptExpansion(tmp_path).fill(ASKED, " a cat,  intricate ")
    assert known.expansion == "a cat, intricate"


def test_without_a_model_the_record_says_that_the_style_was_skipped(tmp_path: Path) -> None:
    filled = PromptExpansion(tmp_path / "prompt_expansion").fill(ASKED)
    assert filled.expansion == ""
    told = str(filled.notes["expansion"])
    assert "Fooocus V2 was skipped" in told
    assert "models/prompt_expansion" in told


def test_either_format_of_weights_and_of_tokenizer_gives_the_same_words(
    tmp_path: Path, files: ExpansionFiles
) -> None:
    folder = tmp_path / "other"
    write_expansion(folder, pickled=False)
    vocabulary, merges = make_table()
    table = {"model": {"vocab": vocabulary, "merges": [f"{a} {b}" for a, b in merges]}}
    (folder / "vocab.json").unlink()
    (folder / "merges.txt").unlink()
    (folder / "tokenizer.json").write_text(json.dumps(table))
    assert expand(load_expansion(folder), "a cat", 7) == expand(files, "a cat", 7)


def test_fooocus_own_folder_comes_before_others(tmp_path: Path) -> None:
    assert find_expansion(tmp_path) is None
    write_expansion(tmp_path / "another")
    assert find_expansion(tmp_path) == tmp_path / "another"
    write_expansion(tmp_path / "fooocus_expansion")
    assert find_expansion(tmp_path) == tmp_path / "fooocus_expansion"


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran",)


def drop_weights(folder: Path) -> None:
    (folder / "pytorch_model.bin").unlink()


def other_kind(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "llama"}')


def other_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps(config | {"n_layer": 3}))


def evil_weights(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Evil()}, protocol=2))


def no_tokenizer(folder: Path) -> None:
    (folder / "vocab.json").unlink()


def broken_merges(folder: Path) -> None:
    (folder / "merges.txt").write_text("x yz\n")


def strange_words(folder: Path) -> None:
    (folder / "positive.txt").write_text("unheard\n")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (drop_weights, "holds neither model.safetensors nor pytorch_model.bin"),
        (other_kind, "holds no GPT-2 but 'llama'"),
        (other_size, r"the prompt expansion does not fit.*missing: transformer\.h\.2"),
        (evil_weights, "holds more than tensors"),
        (no_tokenizer, "tokenizer of bad is missing or damaged"),
        (broken_merges, "tokenizer of bad merges to what it does not know"),
        (strange_words, "lists no word that is one token"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused_by_name(
    tmp_path: Path, spoil: object, told: str
) -> None:
    folder = tmp_path / "bad"
    write_expansion(folder)
    assert callable(spoil)
    spoil(folder)
    with pytest.raises(InvalidModelFile, match=told):
        PromptExpansion(tmp_path).fill(ASKED)


def test_a_released_model_is_read_again(root: Path) -> None:
    expansion = PromptExpansion(root)
    first: ImagePlan = expansion.fill(ASKED)
    expansion.release()
    assert expansion.fill(ASKED) == first
