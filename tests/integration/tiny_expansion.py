"""A small random GPT-2 in the layout of Fooocus's prompt expansion."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

WORDS = ("sharp", "soft", "bright", "calm", "vivid", "golden")
_END = "<|endoftext|>"


def byte_symbols() -> list[str]:
    """A printable character for each byte, as GPT-2's tokenizer writes them."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    symbols = {byte: chr(byte) for byte in printable}
    symbols |= {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [symbols[byte] for byte in range(256)]


def make_table(words: Sequence[str] = WORDS) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Bytes, and each of ``words`` after a blank as one token; the merges that lead there."""
    symbols = byte_symbols()
    blank = symbols[ord(" ")]
    merges: list[tuple[str, str]] = []
    tokens = list(symbols)
    for word in words:
        built = blank
        for letter in word:
            if (built, letter) not in merges:
                merges.append((built, letter))
                tokens.append(built + letter)
            built += letter
    return {token: i for i, token in enumerate([*tokens, _END])}, merges


def make_model(vocabulary: int, positions: int = 128, seed: int = 5) -> Any:
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=positions,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=vocabulary - 1,
        eos_token_id=vocabulary - 1,
    )
    return GPT2LMHeadModel(config)


def stored_tensors(model: Any) -> dict[str, Tensor]:
    """As older versions of the class stored them: one table, and the masks of the attention."""
    tensors = {
        name: tensor.clone()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"
    }
    count = model.config.n_positions
    for layer in range(model.config.n_layer):
        mask = torch.tril(torch.ones(1, 1, count, count))
        tensors[f"transformer.h.{layer}.attn.bias"] = mask
        tensors[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    return tensors


def write_expansion(
    folder: Path,
    *,
    pickled: bool = True,
    words: Sequence[str] | None = WORDS,
    positions: int = 128,
) -> None:
    """A folder that works; ``words`` None writes no list."""
    folder.mkdir(parents=True)
    vocabulary, merges = make_table()
    model = make_model(len(vocabulary), positions)
    (folder / "config.json").write_text(json.dumps(model.config.to_dict()))
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    lines = "\n".join(f"{a} {b}" for a, b in merges)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{lines}\n", encoding="utf-8")
    if words is not None:
        (folder / "positive.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    tensors = stored_tensors(model)
    if pickled:
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        save_file(tensors, folder / "model.safetensors")
