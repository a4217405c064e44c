""" "Fooocus V2": a GPT-2 continues the prompt with words that suit it. Knows no pictures.

It works on the CPU in float32 with a generator of its own, so a prompt and a seed give the same
words on every device and whatever else runs.
"""

import logging
import math
import re
from pathlib import Path
from typing import Any, Final

import msgspec
import torch
from torch import Tensor

from pipeline.files.stamp import Stamp, stamp_of
from pipeline.request.plan import ImagePlan
from pipeline.request.styles import EXPANSION
from pipeline.text.expansion_files import ExpansionFiles, find_expansion, load_expansion

log = logging.getLogger(__name__)

SECTION: Final = 75  # a continued prompt fills the section of CLIP in which it ends
CHOICES: Final = 100  # a token is drawn from so many of the likeliest
SEEDS: Final = 2**32
_Stamp = tuple[Path, Stamp]


class PromptExpansion:
    """The expansion model below one folder, read when first wanted. Device thread only."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: tuple[_Stamp, ExpansionFiles] | None = None

    def fill(self, plan: ImagePlan, known: str = "") -> ImagePlan:
        """``plan`` with its prompt continued, if it asks for that and there is a model.

        ``known`` is the text that an earlier picture was made with; it needs no model. Raises
        InvalidModelFile.
        """
        if not plan.texts.expand or not plan.texts.prompt.strip():
            return plan
        text = " ".join(known.split())
        if not text and (files := self._files()) is not None:
            text = expand(files, plan.texts.prompt, plan.seed)
        if text:
            return msgspec.structs.replace(plan, expansion=text)
        return msgspec.structs.replace(plan, notes=plan.notes | {"expansion": self._lack()})

    def release(self) -> None:
        """Drop the model."""
        self._read = None

    def _files(self) -> ExpansionFiles | None:
        folder = find_expansion(self._root)
        if folder is None:
            return None
        stamp = (folder, stamp_of(folder))
        if self._read is None or self._read[0] != stamp:
            self._read = (stamp, load_expansion(folder))
            log.info("loaded prompt expansion %s", folder.name)
        return self._read[1]

    def _lack(self) -> str:
        return (
            f"{EXPANSION} was skipped: no prompt expansion model is installed (a GPT-2 folder in"
            f" models/{self._root.name}, such as Fooocus's fooocus_expansion)"
        )


@torch.inference_mode()
def expand(files: ExpansionFiles, prompt: str, seed: int) -> str:
    """``prompt`` and what the model adds to it; as it is where its section has no room."""
    start = " ".join(prompt.split()).rstrip(",. ")
    tokens: list[int] = files.tokenizer(f"{start},")["input_ids"]
    room = -len(tokens) % SECTION
    added = _Continuation(files, tokens, seed).take(room)
    new: str = files.tokenizer.decode(added)
    tidy = re.sub(r"\s*,[\s,]*", ", ", " ".join(new.split())).strip(", ")
    return f"{start}, {tidy}" if tidy else start


class _Continuation:
    """One walk through a text, token by token.

    Any token is taken once: a word said twice adds nothing to a prompt. Commas come back, but not
    one after another.
    """

    def __init__(self, files: ExpansionFiles, tokens: list[int], seed: int) -> None:
        self._model = files.model
        self._generator = torch.Generator().manual_seed(seed % SEEDS)
        (self._comma,) = files.tokenizer(",")["input_ids"][:1]
        self._end: int | None = files.tokenizer.eos_token_id
        self._tokens = tokens
        self._barred = _barred(files, int(self._model.config.vocab_size))
        self._barred[tokens] = True
        self._past: Any = None

    def take(self, room: int) -> list[int]:
        """At most ``room`` tokens; fewer where the model ends the text or nothing is left."""
        added: list[int] = []
        longest = int(self._model.config.n_positions)
        read = self._tokens[-max(1, longest - room) :]
        while len(added) < min(room, longest - 1):
            token = self._draw(self._next_scores(read))
            if token is None or token == self._end:
                break
            added.append(token)
            self._barred[token] = True
            read = [token]
        return added

    def _next_scores(self, read: list[int]) -> Tensor:
        """What the model says of each token (V,), float32, after ``read`` more of the text."""
        out = self._model(
            input_ids=torch.tensor([read]), past_key_values=self._past, use_cache=True
        )
        self._past = out.past_key_values
        self._barred[self._comma] = read[-1] == self._comma
        scores: Tensor = out.logits[0, -1].float()
        return scores

    def _draw(self, scores: Tensor) -> int | None:
        """One of the likeliest tokens that may stand here, by its probability."""
        allowed = scores.masked_fill(self._barred, -math.inf)
        best, tokens = allowed.topk(min(CHOICES, len(allowed)))
        if not best[0].isfinite():
            return None
        drawn = torch.multinomial(best.softmax(0), 1, generator=self._generator)
        return int(tokens[drawn])


def _barred(files: ExpansionFiles, size: int) -> Tensor:
    """Which of ``size`` tokens may never be taken (V,), bool."""
    barred = torch.zeros(size, dtype=torch.bool)
    if files.words is not None:
        barred[:] = True
        barred[list(files.words)] = False
    return barred
