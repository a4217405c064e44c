"""Cases of the VAE: pictures to latents and back, whole and in tiles."""

import re
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from pipeline.models.checkpoint import build_vae
from pipeline.models.vae import Vae, grey_where_masked, latent_mask
from pipeline.sampling.noise import seeded_generator
from pipeline.weights.layout import VAE_PREFIX, vae_from_original
from tools.parity_cases.compare import Results, wanted_figures
from tools.parity_cases.fixtures import Case, Fixtures
from tools.parity_cases.sizes import thinned

_PART: Final = re.compile(r"\[:(\d+), *:(\d+)\]")  # rows and columns of a picture


def vae_config(described: Mapping[str, Any]) -> dict[str, Any]:
    """diffusers' arguments for a VAE described in the original project's terms."""
    original = described["ddconfig"]
    levels = len(original["ch_mult"])
    return {
        "in_channels": original["in_channels"],
        "out_channels": original["out_ch"],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": [original["ch"] * each for each in original["ch_mult"]],
        "layers_per_block": original["num_res_blocks"],
        "latent_channels": described["embed_dim"],
        "sample_size": original["resolution"],
        "scaling_factor": 0.13025,
    }


def make_vae(fixtures: Fixtures) -> Vae:
    """The folder's VAE."""
    config = vae_config(fixtures.json("models.json")["vae"])
    tensors = fixtures.weights("vae.safetensors")
    bare = {name.removeprefix(VAE_PREFIX): tensor for name, tensor in tensors.items()}
    return Vae(build_vae(vae_from_original(bare, config), config, fixtures.placement))


@torch.inference_mode()
def encode(case: Case, fixtures: Fixtures) -> Results:
    """A sample of the posterior, and the posterior itself."""
    vae, pixels, seed = make_vae(fixtures), _pixels(case, fixtures), case.params["global_seed"]
    return {
        f"{case.id}.seed{seed}": vae.encode(pixels, seeded_generator(seed)),
        "vae.moments": torch.cat(vae.moments(pixels), dim=1),
    }


@torch.inference_mode()
def encode_odd(case: Case, fixtures: Fixtures) -> Results:
    """A picture whose sides are no multiples of 8: the part that the case's description gives."""
    part = _PART.search(case.what)
    if part is None:
        raise NotImplementedError("the case does not say which part of the picture it encodes")
    pixels = _pixels(case, fixtures)[..., : int(part[1]), : int(part[2])]
    generator = seeded_generator(case.params["global_seed"])
    return {case.id: make_vae(fixtures).encode(pixels, generator)}


@torch.inference_mode()
def encode_tiled(case: Case, fixtures: Fixtures) -> Results:
    """In tiles, each sampled anew."""
    seed = case.params["global_seed"]
    latent = make_vae(fixtures).encode_tiled(_pixels(case, fixtures), seeded_generator(seed))
    return {f"{case.id}.seed{seed}": latent}


@torch.inference_mode()
def decode(case: Case, fixtures: Fixtures) -> Results:
    """Pixels, and the levels that are saved."""
    pixels = _last(make_vae(fixtures).decode(_input(case, fixtures)))
    results = {"vae.decode_u8": (pixels * 255.0).to(torch.uint8)}
    for name in wanted_figures(case, fixtures.tensors(case.file)):
        if name not in results:
            results[name] = thinned(pixels, name)
    return results


@torch.inference_mode()
def decode_tiled(case: Case, fixtures: Fixtures) -> Results:
    """In tiles, and whole for comparison."""
    vae, latent = make_vae(fixtures), _input(case, fixtures)
    ways = {"tiled": vae.decode_tiled, "plain": vae.decode}
    return {
        name: thinned(_last(decode_latent(latent)), name)
        for name in wanted_figures(case, fixtures.tensors(case.file))
        for way, decode_latent in ways.items()
        if name.startswith(f"vae.decode_{way}")
    }


class _AsLaidOut(Vae):
    """Takes pixels in the memory layout they come in.

    That figure was recorded from a channels-last tensor, on which torch's CPU GroupNorm is less
    accurate: it is 3.6e-5 away from float64, contiguous pixels 7.6e-7.
    """

    def _move(self, x: Tensor) -> Tensor:
        return x.to(self.module.device, self.module.dtype)


@torch.inference_mode()
def encode_inpaint(case: Case, fixtures: Fixtures) -> Results:
    """A picture greyed where its mask is, and the mask of its latent."""
    pixels = _pixels(case, fixtures)
    mask = fixtures.tensors(case.file)["vae.inpaint.mask"][None]
    hidden = grey_where_masked(pixels, mask)
    generator = seeded_generator(case.params["global_seed"])
    height, width = pixels.shape[-2:]
    vae = _AsLaidOut(make_vae(fixtures).module)
    return {
        "vae.inpaint.latent": vae.encode(hidden, generator),
        "vae.inpaint.latent_mask": latent_mask(mask, height, width, vae.factor),
    }


def _input(case: Case, fixtures: Fixtures) -> Tensor:
    return fixtures.tensors(case.file)[case.inputs[0]]


def _pixels(case: Case, fixtures: Fixtures) -> Tensor:
    """(1, 3, H, W), 0...1."""
    return _input(case, fixtures).permute(2, 0, 1)[None].float() / 255.0


def _last(pixels: Tensor) -> Tensor:
    """(H, W, 3) of the first picture."""
    return pixels[0].permute(1, 2, 0)


RUNNERS = {
    "vae.encode": encode,
    "vae.encode_odd": encode_odd,
    "vae.encode_tiled": encode_tiled,
    "vae.encode_inpaint": encode_inpaint,
    "vae.decode": decode,
    "vae.decode_tiled": decode_tiled,
}
