"""How long does the worst text hold the interpreter? Every parser of user text, 64 kB each.

Baseline: the parser on half of the text, so that the ratio says how its time grows (2: linear).
Texts that the API bounds lower than 64 kB are measured at 64 kB all the same.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from pipeline.errors import InvalidParameter
from pipeline.metadata.read import ModelNames, read_metadata
from pipeline.request.decode import decode_params, parse_aspect_ratio
from pipeline.request.prompts import read_prompts
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards, apply_arrays
from pipeline.text.chunks import Special, make_sections, split_words
from pipeline.text.weights import parse_weights
from pipeline.weights.textual_inversion import named_inversions

ROOT: Final = Path(__file__).resolve().parents[1]
CHARS: Final = 65_536
REPEATS: Final = 5

Parse = Callable[[str], object]

# Per parser: texts that were slow once, or that make it work most, as (begin, repeated, end).
WORST: Final[Mapping[str, tuple[tuple[str, str, str], ...]]] = {
    "prompt weights": (("", "(", ""), ("", "()", ""), ("", "(a)", ""), ("", "(a:1", "")),
    "arrays": (("", "[", ""), ("", "[[a]]", ""), ("", "[[\n", ""), ("[[", ",", "]]")),
    "wildcards": (("", "_", ""), ("", "__color__ ", ""), ("__", "a", "__"), ("", "__ ", "__a__")),
    "prompts and LoRA tags": (("<lora:a:", "1", ""), ("", "<lora:a:1", ""), ("", "a\n", "")),
    "styles": (("", "{prompt}", ""), ("", "a\n", "")),
    "aspect ratio": (("1", " ", ""), ("1*1<span", " ", "")),
    "embedding names": (("", " embedding:a", ""), ("embedding:", ",", "")),
    "sections": (("", "a ", ""), ("", "a", "")),
    "A1111 metadata": (
        ("x\nSteps: 3, ", 'a:"b,', ""),
        ("x\nSteps: 3, ", ",", ""),
        ('x\nSteps: 3, Lora weights: "', "l:1,", '"'),
        ("\n", "Negative prompt:", "\nSteps: 3"),
    ),
    "JSON metadata": (("", '{"a":', ""), ('{"loras":[', '["l",1,""],', "1]}")),
    "request body": (('{"loras":', "[", ""), ('{"sampler_name":"', " - at `$.a", '"}')),
}


def parsers(wildcards: Path = ROOT / "wildcards") -> dict[str, Parse]:
    """Every parser of user text by its name in ``WORST``."""
    styles = StyleLibrary(ROOT / "sdxl_styles")
    templates = styles.templates()
    names = ModelNames(loras=[f"folder/l{i}.safetensors" for i in range(500)])
    chosen = tuple(templates)[:64]
    filling = Wildcards(wildcards)

    def sections(text: str) -> object:
        words = split_words(parse_weights(text), lambda word: [1] * len(word), lambda _: None)
        return make_sections(words, Special(0, 1, 2))

    def body(text: str) -> None:
        with suppress(msgspec.DecodeError, InvalidParameter):
            decode_params(text.encode(errors="replace"))

    def fill(text: str) -> str:
        return filling.apply(text, random.Random(1), index=0, in_order=False)

    return {
        "prompt weights": parse_weights,
        "arrays": lambda text: apply_arrays(text, 10**9),
        "wildcards": fill,
        "prompts and LoRA tags": lambda text: read_prompts(text, text, names.loras),
        "styles": lambda text: styles.apply(chosen, text),
        "aspect ratio": parse_aspect_ratio,
        "embedding names": lambda text: named_inversions([text]),
        "sections": sections,
        "A1111 metadata": lambda text: read_metadata(text, names, templates),
        "JSON metadata": lambda text: read_metadata(text, names, templates),
        "request body": body,
    }


def made(shape: tuple[str, str, str], chars: int) -> str:
    """A text of that many characters: begin, the middle repeated, end."""
    begin, repeated, end = shape
    room = max(0, chars - len(begin) - len(end))
    return begin + (repeated * (room // len(repeated) + 1))[:room] + end


def cpu_seconds(parse: Parse, text: str) -> float:
    """CPU time of this thread."""
    started = time.thread_time()
    parse(text)
    return time.thread_time() - started


def rows() -> Iterator[tuple[str, str, float, float]]:
    """Parser, text, milliseconds at 64 kB, and the ratio to those at 32 kB; best of a few."""
    for name, parse in parsers().items():
        for shape in WORST[name]:
            half, whole = (
                min(cpu_seconds(parse, made(shape, chars)) for _ in range(REPEATS))
                for chars in (CHARS // 2, CHARS)
            )
            yield name, " ".join(map(repr, shape)), whole * 1e3, whole / half


def main() -> None:
    """Print a line a text."""
    for name, text, milliseconds, ratio in rows():
        print(f"{name:22} {text:45} {milliseconds:7.1f} ms  x{ratio:.1f}")


if __name__ == "__main__":
    main()
