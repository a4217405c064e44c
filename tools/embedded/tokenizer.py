"""A byte-level BPE vocabulary in CLIP's file format, made from the captions' own words."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

from transformers import CLIPTokenizer

from tools.embedded import vocabulary

Pair = tuple[str, str]

START: Final = "<|startoftext|>"
END: Final = "<|endoftext|>"
CONTEXT: Final = 77  # tokens, as in every SDXL model
PADDING: Final = {"tokenizer": END, "tokenizer_2": "!"}  # folder → pad token, as in SDXL


def load_tokenizers(model_dir: Path) -> tuple[CLIPTokenizer, CLIPTokenizer]:
    first, second = (CLIPTokenizer.from_pretrained(model_dir / folder) for folder in PADDING)
    return first, second


def ensure_tokenizers(model_dir: Path, captions: Iterable[str] = ()) -> bool:
    """Make both tokenizers if the model has none; True if they were made.

    Files that are there stay: the text encoders' weights belong to their token numbers.
    """
    if all((model_dir / folder / "vocab.json").exists() for folder in PADDING):
        return False
    tokens, merges = learn_tokens(count_words(captions))
    for folder, pad in PADDING.items():
        _write_tokenizer(model_dir / folder, tokens, merges, pad)
    return True


def count_words(captions: Iterable[str]) -> Counter[str]:
    """Words of the captions, and every word of the vocabulary at least often enough to be one."""
    counts: Counter[str] = Counter()
    for caption in captions:
        counts.update(_words(caption))
    for phrase in _vocabulary_phrases():
        for word in _words(phrase):
            counts[word] += 20
    return counts


def learn_tokens(counts: Counter[str]) -> tuple[list[str], list[Pair]]:
    """Merge the most frequent pair until every counted word is one token."""
    symbols = _byte_symbols()
    alphabet = list(symbols.values())
    tokens = [*alphabet, *(f"{symbol}</w>" for symbol in alphabet)]
    merges: list[Pair] = []
    splits = {word: _split(word, symbols) for word in counts}
    while pair := _most_frequent_pair(splits, counts):
        merges.append(pair)
        tokens.append("".join(pair))
        splits = {word: _merge(pieces, pair) for word, pieces in splits.items()}
    unique = list(dict.fromkeys(tokens))
    return [*unique, START, END], merges


def _vocabulary_phrases() -> Iterator[str]:
    yield from vocabulary.FULL.shapes
    yield from vocabulary.FULL.objects
    yield from (*vocabulary.PLURALS.values(), *vocabulary.COLOURS)
    yield from (*vocabulary.QUALITY_WORDS, *vocabulary.OPENINGS, *vocabulary.PROMPT_WORDS)
    yield from (phrase.replace("{}", "") for phrase in vocabulary.BACKGROUND_PHRASES)
    for phrases in (
        vocabulary.COLOUR_NAMES,
        vocabulary.PLACES,
        vocabulary.SKIES,
        vocabulary.LANDMARKS,
        vocabulary.STYLES,
    ):
        for alternatives in phrases.values():
            yield from alternatives
    yield from (f"{noun}s" for noun in vocabulary.FULL.shapes + vocabulary.FULL.objects)
    yield "above below next to the left right top . ,"


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+|[0-9]|[^\sa-z0-9]+", text.lower())


def _byte_symbols() -> dict[int, str]:
    """CLIP's printable stand-in for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    symbols = {byte: chr(byte) for byte in printable}
    return symbols | {byte: chr(256 + i) for i, byte in enumerate(others)}


def _split(word: str, symbols: dict[int, str]) -> list[str]:
    pieces = [symbols[byte] for byte in word.encode()]
    pieces[-1] += "</w>"
    return pieces


def _most_frequent_pair(splits: dict[str, list[str]], counts: Counter[str]) -> Pair | None:
    pairs: Counter[Pair] = Counter()
    for word, pieces in splits.items():
        for pair in pairwise(pieces):
            pairs[pair] += counts[word]
    # Ties go to the last in alphabetical order, so the same counts give the same vocabulary.
    return max(pairs, key=lambda pair: (pairs[pair], pair)) if pairs else None


def _merge(pieces: list[str], pair: Pair) -> list[str]:
    merged: list[str] = []
    for piece in pieces:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


def _write_tokenizer(folder: Path, tokens: list[str], merges: list[Pair], pad: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(numbers, ensure_ascii=False), "utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": pad}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=1), "utf-8")
    config = special | {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": CONTEXT,
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
        "clean_up_tokenization_spaces": True,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1), "utf-8")
