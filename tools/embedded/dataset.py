"""Sets of training pictures on disk: drawn, encoded to latents, and drawn from in batches.

A set is two files, ``NAME_z.npy`` (latents, float16, scaled) and ``NAME_c.json`` (captions).
"""

import json
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image
from transformers import CLIPTokenizer

from tools.embedded.pictures import draw_example
from tools.embedded.tokenizer import CONTEXT
from tools.embedded.vocabulary import SCOPES

Pixels = NDArray[np.uint8]
Bucket = tuple[int, int]  # latent height and width

# Width and height in pixels → share of the batches made of that size.
SIZES: Final = {(256, 256): 0.84, (320, 192): 0.08, (192, 320): 0.08}
SHARD: Final = 512  # pictures a set
ENCODE_BATCH: Final = 16
# Each size draws from its own numbers, so that no two sets hold the same picture.
FIRST_SEED: Final = {(256, 256): 0, (320, 192): 10_000_000, (192, 320): 20_000_000}


class Shard(NamedTuple):
    """Some pictures of one size, to be drawn and encoded by one process."""

    folder: Path
    name: str
    first_seed: int
    pictures: int
    size: tuple[int, int]
    scope: str
    vae_dir: Path


class LatentSet(NamedTuple):
    """All pictures of one size: latents (N, 4, H/8, W/8) float16, token numbers (N, 77)."""

    latents: torch.Tensor
    first_tokens: torch.Tensor
    second_tokens: torch.Tensor


def draw_pixels(
    first_seed: int, count: int, size: tuple[int, int], scope: str
) -> tuple[Pixels, list[str]]:
    """Pictures (N, H, W, 3) and their captions."""
    drawn = [
        draw_example(seed, size, SCOPES[scope]) for seed in range(first_seed, first_seed + count)
    ]
    pixels = np.stack([np.asarray(picture.image, np.uint8) for picture in drawn])
    return pixels, [picture.caption for picture in drawn]


def as_tensor(pixels: Pixels) -> torch.Tensor:
    """(N, H, W, 3) bytes → (N, 3, H, W) in -1..1."""
    channels_first = torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2)
    values = channels_first.float().div(127.5).sub(1)
    return values.contiguous(memory_format=torch.channels_last)


def as_picture(pixels: Pixels) -> Image.Image:
    """(H, W, 3) bytes as a picture."""
    return Image.fromarray(pixels)


def load_vae(folder: Path) -> AutoencoderKL:
    vae = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32, low_cpu_mem_usage=False)
    return vae.to(memory_format=torch.channels_last).eval()


@torch.no_grad()
def encode_pixels(vae: AutoencoderKL, pixels: Pixels) -> torch.Tensor:
    """Scaled latents (N, 4, H/8, W/8) in float32: the means, without the VAE's noise."""
    with torch.autocast("cpu", torch.bfloat16):
        means = vae.encode(as_tensor(pixels)).latent_dist.mode()
    latents: torch.Tensor = means.float() * vae.config.scaling_factor
    return latents


def encode_sets(
    folder: Path, pictures: int, scope: str, vae_dir: Path, processes: int
) -> list[str]:
    """Draw and encode ``pictures`` in all sizes; shards that are there already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = [
        shard
        for shard in _plan_shards(folder, pictures, scope, vae_dir)
        if not (folder / f"{shard.name}_c.json").exists()
    ]
    # Processes of their own start: forked ones would share torch's thread pool and hang.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return list(pool.imap_unordered(_encode_shard, shards))


def load_sets(
    folder: Path, tokenizers: tuple[CLIPTokenizer, CLIPTokenizer]
) -> dict[Bucket, LatentSet]:
    """All finished sets in ``folder``, those of one size together. Raises FileNotFoundError."""
    found: dict[Bucket, list[tuple[NDArray[np.float16], list[str]]]] = {}
    for captions_file in sorted(folder.glob("*_c.json")):
        latents = np.load(folder / captions_file.name.replace("_c.json", "_z.npy"))
        captions = json.loads(captions_file.read_text("utf-8"))
        found.setdefault((latents.shape[2], latents.shape[3]), []).append((latents, captions))
    if not found:
        raise FileNotFoundError(f"no training sets in {folder}; run the encode step first")
    return {bucket: _joined(sets, tokenizers) for bucket, sets in found.items()}


def token_ids(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> torch.Tensor:
    """(N, 77) token numbers."""
    encoded: Any = tokenizer(
        list(captions),
        padding="max_length",
        max_length=CONTEXT,
        truncation=True,
        return_tensors="pt",
    )
    numbers: torch.Tensor = encoded.input_ids
    return numbers


def bucket_shares(buckets: Sequence[Bucket]) -> list[float]:
    """How often each bucket is drawn from, in SIZES' proportions; unknown sizes get 8 %."""
    wanted = {(height // 8, width // 8): share for (width, height), share in SIZES.items()}
    shares = [wanted.get(bucket, 0.08) for bucket in buckets]
    return [share / sum(shares) for share in shares]


def _joined(
    sets: Sequence[tuple[NDArray[np.float16], list[str]]],
    tokenizers: tuple[CLIPTokenizer, CLIPTokenizer],
) -> LatentSet:
    captions = [caption for _, captions in sets for caption in captions]
    latents = torch.from_numpy(np.concatenate([latents for latents, _ in sets]))
    first, second = (token_ids(tokenizer, captions) for tokenizer in tokenizers)
    return LatentSet(latents, first, second)


def _plan_shards(folder: Path, pictures: int, scope: str, vae_dir: Path) -> list[Shard]:
    shards = []
    for size, share in SIZES.items():
        for start in range(0, max(1, round(pictures * share)), SHARD):
            count = min(SHARD, max(1, round(pictures * share)) - start)
            name = f"{scope}-{size[0]}x{size[1]}-{start:06d}-{count}"
            seed = FIRST_SEED[size] + start
            shards.append(Shard(folder, name, seed, count, size, scope, vae_dir))
    return shards


def _encode_shard(shard: Shard) -> str:
    torch.set_num_threads(1)
    vae = load_vae(shard.vae_dir)
    latents, captions = [], []
    for start in range(0, shard.pictures, ENCODE_BATCH):
        count = min(ENCODE_BATCH, shard.pictures - start)
        pixels, said = draw_pixels(shard.first_seed + start, count, shard.size, shard.scope)
        latents.append(encode_pixels(vae, pixels).half().numpy())
        captions += said
    np.save(shard.folder / f"{shard.name}_z.npy", np.concatenate(latents))
    # The captions come last: a set counts as finished once they are there.
    (shard.folder / f"{shard.name}_c.json").write_text(json.dumps(captions), "utf-8")
    return shard.name
