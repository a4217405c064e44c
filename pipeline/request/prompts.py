"""From the prompts of a request to the texts that are encoded for one image."""

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from pipeline.request.decode import GenerateParams
from pipeline.request.styles import EXPANSION, StyleLibrary
from pipeline.request.wildcards import Wildcards, apply_arrays

# Each part of the number can end in one place only, so that no text makes the match go back.
_LORA: Final = re.compile(r"<lora:([^:]+):([+-]?(?:\d++(?:\.\d*+)?|\.\d++))>")


class PromptSources(msgspec.Struct, frozen=True):
    """Where texts come from: style templates and wildcard files."""

    styles: StyleLibrary
    wildcards: Wildcards


class Prompts(msgspec.Struct, frozen=True, kw_only=True):
    """The prompts of a run line by line, and the LoRAs named in them."""

    main: str
    extra: tuple[str, ...]
    negative: str
    extra_negative: tuple[str, ...]
    loras: tuple[tuple[str, float], ...]
    unknown_loras: tuple[str, ...]  # names in the prompt for which there is no file


class PictureTexts(msgspec.Struct, frozen=True, kw_only=True):
    """One image's texts after arrays, wildcards, styles and ``<lora:...>``."""

    prompt: str  # the main prompt
    negative_prompt: str
    extra_prompts: tuple[str, ...] = ()  # the prompt's further lines
    extra_negative_prompts: tuple[str, ...] = ()
    positives: tuple[str, ...]  # texts to encode, in order; all count for the pooled sum
    negatives: tuple[str, ...]
    expand: bool = False  # whether "Fooocus V2" is chosen and there is a prompt to continue
    styles: tuple[str, ...] = ()  # as applied, random ones drawn


def read_prompts(prompt: str, negative_prompt: str, known_loras: Sequence[str] = ()) -> Prompts:
    """Split prompts into lines; LoRAs are named in the first line of the prompt only."""
    main, *extra = filled(list(_lines(prompt)), "")
    negative, *extra_negative = filled(list(_lines(negative_prompt)), "")
    unknown = _unknown_loras(main, known_loras)
    main, loras = prompt_loras(main, known_loras)
    return Prompts(
        main=main,
        extra=tuple(extra),
        negative=negative,
        extra_negative=tuple(extra_negative),
        loras=tuple(loras),
        unknown_loras=unknown,
    )


def picture_texts(
    params: GenerateParams, prompts: Prompts, sources: PromptSources, seed: int, index: int
) -> PictureTexts:
    """The texts of one image. The order of the calls fixes the order of random draws."""
    rng = random.Random(seed)  # noqa: S311 - the reference's own stream, no secret
    fill = sources.wildcards.filling(rng, index=index, in_order=params.read_wildcards_in_order)
    prompt = apply_arrays(fill(prompts.main), index)
    negative = fill(prompts.negative)
    extra = [fill(text) for text in prompts.extra]
    extra_negative = [fill(text) for text in prompts.extra_negative]
    styles = sources.styles.draw(params.style_selections, rng)
    positives, negatives = sources.styles.apply(styles, prompt)
    return PictureTexts(
        prompt=prompt,
        negative_prompt=negative,
        extra_prompts=tuple(extra),
        extra_negative_prompts=tuple(extra_negative),
        positives=filled([*positives, *extra], prompt),
        negatives=filled([*negatives, negative, *extra_negative], negative),
        expand=EXPANSION in params.style_selections and prompts.main != "",
        styles=styles,
    )


def prompt_loras(prompt: str, known: Sequence[str]) -> tuple[str, list[tuple[str, float]]]:
    """The prompt without ``<lora:name:weight>`` tags, and the LoRAs of ``known`` they name.

    A tag names a file without folder and suffix; unknown names are dropped. The remaining prompt
    has single spaces and ", " between its parts.
    """
    by_stem = {_stem(name): name for name in reversed(known)}
    found = [
        (by_stem[match[1]], float(match[2]))
        for match in _LORA.finditer(prompt)
        if match[1] in by_stem
    ]
    parts = re.sub(r" +", " ", _LORA.sub("", prompt)).split(",")
    return ", ".join(part.strip() for part in parts if part.strip()), found


def named_loras(prompts: Iterable[str], known: Sequence[str]) -> tuple[str, ...]:
    """The files of ``known`` that prompts name as ``<lora:name:weight>``, each once."""
    stems = [match[1] for prompt in prompts for match in _LORA.finditer(prompt)]
    by_stem = {_stem(name): name for name in reversed(known)} if stems else {}
    return tuple(dict.fromkeys(by_stem[stem] for stem in stems if stem in by_stem))


def _unknown_loras(prompt: str, known: Sequence[str]) -> tuple[str, ...]:
    stems = {_stem(name) for name in known}
    return tuple(match[1] for match in _LORA.finditer(prompt) if match[1] not in stems)


def _lines(text: str) -> Iterator[str]:
    """Lines with single spaces, without commas, dots and spaces at either end."""
    for line in re.sub(r" +", " ", text).splitlines():
        yield line.strip(",. \r\n")


def filled(texts: Sequence[str], default: str) -> tuple[str, ...]:
    """The texts that are not empty, or ``default`` alone."""
    return tuple(text for text in texts if text) or (default,)


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]
