"""A prompt expansion's folder to a GPT-2 with its tokenizer and word list. Chooses no words."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from pipeline.errors import InvalidModelFile
from pipeline.weights.pickled import read_pickled
from pipeline.weights.tensors import fill, read_config, read_tensors

FOOOCUS_FOLDER: Final = "fooocus_expansion"
CONFIG: Final = "config.json"
WORDS: Final = "positive.txt"
_PART: Final = "prompt expansion"
_OUTER: Final = "transformer."
_HEAD: Final = "lm_head.weight"
_TABLE: Final = "transformer.wte.weight"
# The triangle that hides later tokens: older versions of the class stored it, none needs it.
_MASKS: Final = (".attn.bias", ".attn.masked_bias")


class ExpansionFiles(NamedTuple):
    """What continues prompts, on the CPU. ``words`` are tokens; None allows every one."""

    model: Any
    tokenizer: Any
    words: frozenset[int] | None


def find_expansion(root: Path) -> Path | None:
    """Fooocus's own folder below ``root``, else the first by name that holds a configuration."""
    folders = sorted(path.parent for path in root.glob(f"*/{CONFIG}"))
    own = [folder for folder in folders if folder.name == FOOOCUS_FOLDER]
    return next(iter([*own, *folders]), None)


def load_expansion(folder: Path) -> ExpansionFiles:
    """Read a folder in transformers' layout. Raises InvalidModelFile."""
    tokenizer = _read_tokenizer(folder)
    return ExpansionFiles(_read_model(folder), tokenizer, _read_words(folder, tokenizer))


def _read_model(folder: Path) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel  # noqa: PLC0415 - takes seconds

    config = read_config(folder / CONFIG)
    if config.get("model_type", "gpt2") != "gpt2":
        raise InvalidModelFile(f"{folder.name} holds no GPT-2 but {config['model_type']!r}")
    tensors = _as_causal(_read_weights(folder))
    try:
        with torch.device("meta"):
            model = GPT2LMHeadModel(GPT2Config(**config))
    except (TypeError, ValueError) as error:
        raise InvalidModelFile(f"{folder.name}/{CONFIG} is no GPT-2's ({error})") from error
    return fill(model, tensors, _PART, torch.float32)


def _read_weights(folder: Path) -> Mapping[str, Tensor]:
    safe, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    if safe.is_file():
        return read_tensors(safe, _PART)
    if pickled.is_file():
        values = read_pickled(pickled, _PART)
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}
    raise InvalidModelFile(f"{folder.name} holds neither {safe.name} nor {pickled.name}")


def _as_causal(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of the class with a head: files of the bare class lack the outer name and the head."""
    named = {
        name if name.startswith((_OUTER, _HEAD)) else _OUTER + name: tensor
        for name, tensor in tensors.items()
        if not name.endswith(_MASKS)
    }
    if _HEAD not in named and _TABLE in named:
        named[_HEAD] = named[_TABLE]  # one table reads and writes
    return named


def _read_tokenizer(folder: Path) -> Any:
    """GPT-2's byte-pair tokenizer, from either way of writing down its table."""
    try:
        vocabulary, merges = _read_table(folder)
        fits = all({a, b, a + b} <= vocabulary.keys() for a, b in merges)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        told = f"the tokenizer of {folder.name} is missing or damaged ({error})"
        raise InvalidModelFile(f"{told}; it wants vocab.json and merges.txt") from error
    if not fits:
        raise InvalidModelFile(f"the tokenizer of {folder.name} merges to what it does not know")
    from transformers import GPT2Tokenizer  # noqa: PLC0415 - takes seconds

    return GPT2Tokenizer(vocab=vocabulary, merges=merges)


def _read_table(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    whole, vocabulary = folder / "tokenizer.json", folder / "vocab.json"
    if whole.is_file() and not vocabulary.is_file():
        model = json.loads(whole.read_bytes())["model"]
        return dict(model["vocab"]), [_pair(entry) for entry in model["merges"]]
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    merges = [_pair(line) for line in lines if line and not line.startswith("#version")]
    return dict(json.loads(vocabulary.read_bytes())), merges


def _pair(entry: str | list[str]) -> tuple[str, str]:
    first, second = entry.split(" ") if isinstance(entry, str) else entry
    return first, second


def _read_words(folder: Path, tokenizer: Any) -> frozenset[int] | None:
    """Tokens of the listed words, each as it stands after a blank."""
    path = folder / WORDS
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    wanted = (line.strip().lower() for line in lines)
    coded = (tokenizer(f" {word}")["input_ids"] for word in wanted if word)
    words = frozenset(tokens[0] for tokens in coded if len(tokens) == 1)
    if not words:
        raise InvalidModelFile(f"{folder.name}/{path.name} lists no word that is one token")
    return words
