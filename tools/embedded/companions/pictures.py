"""The companions' training pictures on disk: pixels beside latents and captions.

A set is ``NAME_p.npy`` (pixels), ``NAME_z.npy`` (latents), ``NAME_c.json`` (captions) and, for
inpainting, ``NAME_m.npy`` (latent masks) and ``NAME_g.npy`` (latents of the greyed pictures), and
for each kind of control ``NAME_KIND.npy`` (hints).
"""

import json
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.images.preprocessors import canny_pyramid, cpds
from tools.embedded.companions.base import Tokenizers
from tools.embedded.companions.masks import draw_mask, grey_masked, latent_mask
from tools.embedded.dataset import (
    ENCODE_BATCH,
    FIRST_SEED,
    SIZES,
    LatentSet,
    Pixels,
    draw_pixels,
    encode_pixels,
    load_vae,
    token_ids,
)

CANNY_THRESHOLDS: Final = (64, 128)  # the server's defaults
SHARD: Final = 256  # pictures a set
HINTS: Final[Mapping[str, Callable[[Pixels], Pixels]]] = {
    "canny": lambda pixels: canny_pyramid(pixels, *CANNY_THRESHOLDS),
    "cpds": cpds,
}
FIRST_NUMBER: Final = 3_000_000  # beyond the pictures that the model itself was trained on


class Shard(NamedTuple):
    """Some pictures of one size, to be drawn and encoded by one process."""

    folder: Path
    name: str
    first_seed: int
    pictures: int
    size: tuple[int, int]
    scope: str
    vae_dir: Path


class PictureSet(NamedTuple):
    """Pictures of one size: pixels (N, H, W, 3) bytes, latents (N, 4, H/8, W/8) float16, words."""

    stems: Sequence[Path]  # of the files, in the order of the latents
    latents: torch.Tensor
    first_tokens: torch.Tensor
    second_tokens: torch.Tensor
    masks: torch.Tensor  # (N, 1, H/8, W/8) float16, or empty
    greyed: torch.Tensor  # like the latents, or empty

    def pick(self, numbers: torch.Tensor) -> LatentSet:
        """Latents and tokens of these pictures."""
        return LatentSet(
            self.latents[numbers], self.first_tokens[numbers], self.second_tokens[numbers]
        )

    def pick_pixels(self, numbers: torch.Tensor) -> Pixels:
        """(B, H, W, 3) bytes of these pictures."""
        return self._pick_rows("p", numbers)

    def pick_hints(self, kind: str, numbers: torch.Tensor) -> Pixels:
        """(B, H, W) bytes: what a control network is shown of these pictures."""
        return self._pick_rows(kind, numbers)

    def _pick_rows(self, part: str, numbers: torch.Tensor) -> Pixels:
        rows = []
        for number in numbers.tolist():
            file = f"{self.stems[number // SHARD]}_{part}.npy"
            rows.append(np.load(file, mmap_mode="r")[number % SHARD])
        return np.stack(rows)


def draw_sets(folder: Path, pictures: int, scope: str, vae_dir: Path, processes: int) -> list[str]:
    """Draw and encode ``pictures`` in all sizes; sets that are there already are kept."""
    return _run_shards(_draw_shard, _plan(folder, pictures, scope, vae_dir), processes, "c.json")


def mask_sets(folder: Path, pictures: int, scope: str, vae_dir: Path, processes: int) -> list[str]:
    """Give every picture a mask, and encode it with the masked part greyed out."""
    return _run_shards(_mask_shard, _plan(folder, pictures, scope, vae_dir), processes, "m.npy")


def hint_sets(folder: Path, kind: str) -> int:
    """Make the hints of a kind for every picture; returns for how many sets they were missing."""
    missing = [
        file
        for file in sorted(folder.glob("*_p.npy"))
        if not file.with_name(file.name.replace("_p.npy", f"_{kind}.npy")).exists()
    ]
    for file in missing:
        hints = np.stack([HINTS[kind](pixels) for pixels in np.load(file)])
        np.save(file.with_name(file.name.replace("_p.npy", f"_{kind}.npy")), hints)
    return len(missing)


def load_sets(folder: Path, tokenizers: Tokenizers) -> dict[tuple[int, int], PictureSet]:
    """All finished sets by latent height and width. Raises FileNotFoundError."""
    found: dict[tuple[int, int], list[Path]] = {}
    for captions_file in sorted(folder.glob("*_c.json")):
        stem = captions_file.with_name(captions_file.name.removesuffix("_c.json"))
        height, width = np.load(f"{stem}_z.npy", mmap_mode="r").shape[2:]
        found.setdefault((height, width), []).append(stem)
    if not found:
        raise FileNotFoundError(f"no pictures in {folder}; run the companion-pictures step first")
    return {size: _joined(stems, tokenizers) for size, stems in found.items()}


def _joined(stems: Sequence[Path], tokenizers: Tokenizers) -> PictureSet:
    captions = [each for stem in stems for each in json.loads(Path(f"{stem}_c.json").read_text())]
    first, second = (token_ids(tokenizer, captions) for tokenizer in tokenizers)
    masked = all(Path(f"{stem}_m.npy").exists() for stem in stems)
    return PictureSet(
        stems=stems,
        latents=_concatenated(stems, "z"),
        first_tokens=first,
        second_tokens=second,
        masks=_concatenated(stems, "m") if masked else torch.empty(0),
        greyed=_concatenated(stems, "g") if masked else torch.empty(0),
    )


def _concatenated(stems: Sequence[Path], part: str) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([np.load(f"{stem}_{part}.npy") for stem in stems]))


def _plan(folder: Path, pictures: int, scope: str, vae_dir: Path) -> list[Shard]:
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    for size, share in SIZES.items():
        # Whole sets only: a picture's number then tells its file.
        for start in range(0, round(pictures * share / SHARD + 0.5) * SHARD, SHARD):
            name = f"{scope}-{size[0]}x{size[1]}-{start:06d}"
            seed = FIRST_NUMBER + FIRST_SEED[size] + start
            shards.append(Shard(folder, name, seed, SHARD, size, scope, vae_dir))
    return shards


def _run_shards(
    work: Callable[[Shard], str], shards: Sequence[Shard], processes: int, last_file: str
) -> list[str]:
    left = [each for each in shards if not (each.folder / f"{each.name}_{last_file}").exists()]
    # Processes of their own start: forked ones would share torch's thread pool and hang.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return list(pool.imap_unordered(work, left))


def _draw_shard(shard: Shard) -> str:
    torch.set_num_threads(1)
    pixels, captions = draw_pixels(shard.first_seed, shard.pictures, shard.size, shard.scope)
    np.save(shard.folder / f"{shard.name}_p.npy", pixels)
    np.save(shard.folder / f"{shard.name}_z.npy", _encoded(pixels, shard.vae_dir))
    # The captions come last: a set counts as finished once they are there.
    (shard.folder / f"{shard.name}_c.json").write_text(json.dumps(captions), "utf-8")
    return shard.name


def _mask_shard(shard: Shard) -> str:
    torch.set_num_threads(1)
    pixels = np.load(shard.folder / f"{shard.name}_p.npy")
    drawn = [draw_mask(shard.first_seed + i, shard.size) for i in range(len(pixels))]
    greyed = np.stack([grey_masked(*each) for each in zip(pixels, drawn, strict=True)])
    np.save(shard.folder / f"{shard.name}_g.npy", _encoded(greyed, shard.vae_dir))
    masks = np.stack([latent_mask(mask) for mask in drawn])[:, None]
    np.save(shard.folder / f"{shard.name}_m.npy", masks.astype(np.float16))
    return shard.name


def _encoded(pixels: Pixels, vae_dir: Path) -> NDArray[np.float16]:
    vae = load_vae(vae_dir)
    starts = range(0, len(pixels), ENCODE_BATCH)
    parts = [encode_pixels(vae, pixels[i : i + ENCODE_BATCH]).half() for i in starts]
    latents: NDArray[np.float16] = torch.cat(parts).numpy()
    return latents
