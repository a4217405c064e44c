"""Model files found again by what a text says of them: a name without folder, and a hash."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from pipeline.metadata.record import short_name
from pipeline.request.choices import DEFAULT_VAE, EMBEDDED, NO_MODEL

Hashes = Mapping[str, tuple[str, ...]]
"""Hashes of files in hexadecimal, whole or cut, by the files' names."""

_LEAST_DIGITS: Final = 8  # of a hash that tells files apart; Fooocus and A1111 write 10 or 12


class ModelNames(msgspec.Struct, frozen=True):
    """The installed model files. Hashes are wanted of those alone that share a short name."""

    checkpoints: Sequence[str] = ()
    loras: Sequence[str] = ()
    vaes: Sequence[str] = ()
    checkpoint_hashes: Hashes = {}
    lora_hashes: Hashes = {}

    def checkpoint(self, told: str, digest: str = "") -> str:
        """The checkpoint that a text tells by name and, where it has one, hash."""
        return _find(told, digest, self.checkpoints, self.checkpoint_hashes)

    def lora(self, told: str, digest: str = "") -> str:
        """As ``checkpoint``."""
        return _find(told, digest, self.loras, self.lora_hashes)

    def vae(self, told: str) -> str:
        """As ``checkpoint``; texts have no hashes of VAEs."""
        return _find(told, "", self.vaes, {})


def namesakes(names: Sequence[str]) -> list[str]:
    """The files that share their name without folder and ending with another one."""
    by_short: dict[str, list[str]] = {}
    for name in names:
        by_short.setdefault(short_name(name), []).append(name)
    return [name for group in by_short.values() if len(group) > 1 for name in group]


def _find(told: str, digest: str, known: Sequence[str], hashes: Hashes) -> str:
    """The file told; without one, the name such a file would have.

    Of several with that name the one in the folder told, or else the one of that hash, or else the
    first whose hash is not known to be another.
    """
    told = told.replace("\\", "/")  # of a Windows path
    if told in (NO_MODEL, DEFAULT_VAE, EMBEDDED):
        return told
    same = [name for name in known if short_name(name) == short_name(told)]
    if not same:
        return f"{told.removesuffix('.safetensors')}.safetensors"
    if told in same:
        return told
    if len(same) > 1 and len(digest) >= _LEAST_DIGITS:
        matching = [name for name in same if _matches(digest, hashes.get(name, ()))]
        unknown = [name for name in same if name not in hashes]
        same = matching or unknown or same
    return same[0]


def _matches(digest: str, hashes: Sequence[str]) -> bool:
    digest = digest.lower()
    return any(each.startswith(digest) or digest.startswith(each) for each in hashes if each)
