"""The parity tool on a folder recorded at sizes of its own: 112x80 pixels, 64 model channels.

The figures are made here, from the pipeline's functions with the sizes written out.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.embeddings import get_timestep_embedding
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.adapters.freeu import freeu_scales, quieten, strengthen
from pipeline.models.unet import UNet
from pipeline.models.vae import Vae
from pipeline.request.sampling import FreeU, Guidance, SamplingSettings
from pipeline.sampling.adm import RefinerSizes, SdxlSizes
from pipeline.sampling.denoiser import Conditioning, Denoiser
from pipeline.sampling.diffusion import sample
from pipeline.sampling.noise import ImageNoise, seeded_generator
from pipeline.sampling.parametrisation import ModelSampling
from pipeline.sampling.sigmas import make_sigmas
from pipeline.weights import layout
from tools import parity
from tools.original_layout import original_names
from tools.parity_cases.fixtures import unet_config
from tools.parity_cases.vae import vae_config

WIDTH, HEIGHT = 112, 80
LATENT = (1, 4, 10, 14)
SEED = 5
POOLED, CONTEXT = 24, 40
MODELS: dict[str, Any] = {
    "unet": {
        "num_head_channels": 16,
        "fooocus_unet_config": {
            "in_channels": 4,
            "out_channels": 4,
            "model_channels": 64,
            "num_res_blocks": [1, 1],
            "channel_mult": [1, 1],
            "transformer_depth": [0, 1],
            "transformer_depth_middle": 1,
            "context_dim": CONTEXT,
            "adm_in_channels": POOLED + 6 * 256,
            "use_linear_in_transformer": True,
        },
    },
    "vae": {
        "embed_dim": 4,
        "ddconfig": {
            "in_channels": 3,
            "out_ch": 3,
            "ch": 32,
            "ch_mult": [1, 1, 1, 1],
            "num_res_blocks": 1,
            "resolution": 64,
        },
    },
}
SETTINGS = {
    "sharpness": 2.0,
    "adm_scaler_end": 0.3,
    "positive_adm_scale": 1.5,
    "negative_adm_scale": 0.8,
    "adaptive_cfg": 7.0,
}
GUIDANCE = Guidance(
    cfg=4.0,
    sharpness=2.0,
    adaptive_cfg=7.0,
    adm_scaler_positive=1.5,
    adm_scaler_negative=0.8,
    adm_scaler_end=0.3,
)


Prefixes = list[tuple[str, str]]


class Recorder:
    """Figures and index entries of a folder, and the networks that they are made with."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(1)
        self.folder = folder
        self.cases: list[dict[str, Any]] = []
        self.figures: dict[str, Tensor] = {
            "in.init_latent": torch.randn(LATENT),
            "in.pos_77": torch.randn(1, 77, CONTEXT),
            "in.neg_77": torch.randn(1, 77, CONTEXT),
            "in.pos_pooled": torch.randn(1, POOLED),
            "in.neg_pooled": torch.randn(1, POOLED),
        }
        config = unet_config(MODELS["unet"])
        unet = UNet2DConditionModel.from_config(config)
        self._save("unet", unet, layout.UNET_PREFIX, list(layout.unet_prefixes(config)))
        self.unet = UNet(unet.eval())
        config = vae_config(MODELS["vae"])
        vae = AutoencoderKL.from_config(config)
        self._save("vae", vae, layout.VAE_PREFIX, list(layout.vae_prefixes(config)))
        self.vae = Vae(vae.eval())

    def _save(
        self, name: str, module: nn.Module, prefix: str, table: list[tuple[str, str]]
    ) -> None:
        stored = module.state_dict()
        names = original_names(stored, table)
        tensors = {prefix + old: stored[new] for old, new in zip(names, stored, strict=True)}
        save_file(tensors, self.folder / f"{name}.safetensors")

    def add(self, case_id: str, figures: dict[str, Tensor], **entry: Any) -> None:
        """A case whose outputs are these figures."""
        self.figures |= figures
        entry = {"params": {}, "outputs": list(figures), **entry}
        self.cases.append({"id": case_id, "file": "units.safetensors", **entry})

    def denoiser(self) -> Denoiser:
        """The network under the shared prompts, told the folder's size."""
        positive, negative = (
            Conditioning(self.figures[f"in.{side}_77"], self.figures[f"in.{side}_pooled"])
            for side in ("pos", "neg")
        )
        sizes = SdxlSizes(WIDTH, HEIGHT, GUIDANCE)
        return Denoiser(self.unet, ModelSampling(), positive, negative, GUIDANCE, sizes)

    def sampled(self, denoise: float = 1.0, latent: Tensor | None = None) -> Tensor:
        """The latent of a short run."""
        settings = SamplingSettings(
            sampler="euler", scheduler="karras", steps=3, seed=SEED, denoise=denoise
        )
        noise = ImageNoise(SEED, LATENT)
        sigmas = make_sigmas(settings, ModelSampling().levels)
        return sample(self.denoiser(), settings, sigmas, noise, lambda _i, _d: None, latent)

    def write(self) -> None:
        """The index and the figures; the networks are there already."""
        save_file(
            {k: t.contiguous() for k, t in self.figures.items()}, self.folder / "units.safetensors"
        )
        (self.folder / "models.json").write_text(json.dumps(MODELS))
        (self.folder / "index.json").write_text(json.dumps({"cases": self.cases}))


def record_units(to: Recorder) -> None:
    noise, here = ImageNoise(SEED, LATENT, "cpu", "cpu"), torch.zeros(())
    drawn = {f"noise.{SEED}": noise.initial, f"noise.{SEED}.next": noise.fresh(here, here)}
    to.add(f"units.noise.{SEED}", drawn, params={"seed": SEED})
    levels = torch.tensor([10.0, 5.0, 1.0, 0.0])
    to.figures[f"brownian.{SEED}.sigmas"] = levels
    path = noise.brownian(1.0, 10.0)
    increments = {f"brownian.{SEED}.{i}": path(levels[i], levels[i + 1]) for i in range(2)}
    ends = {"seed": SEED, "sigma_min": 1.0, "sigma_max": 10.0}
    to.add(f"units.brownian.{SEED}", increments, params=ends)
    to.figures["call.2.0.x"] = x = 2 * torch.randn(LATENT)
    with torch.inference_mode():
        both = torch.cat(to.denoiser().predict_both(x, torch.tensor(2.0)))
    asked = {"sigma": 2.0, "settings": SETTINGS}
    to.add("units.apply_model.2.0", {"call.2.0.x0": both}, params=asked, inputs=["call.2.0.x"])
    h, skip = (
        torch.randn(1, 256, 4, 6),
        torch.randn(1, 256, 4, 6),
    )  # four times the model's channels
    to.figures |= {"freeu.256.h": h, "freeu.256.skip": skip}
    backbone, low = freeu_scales(FreeU(1.3, 1.2, 0.9, 0.8), 256, 64) or (0.0, 0.0)
    changed = {"freeu.256.h_out": strengthen(h, backbone), "freeu.256.skip_out": quieten(skip, low)}
    to.add("units.freeu.256", changed, params={"b1": 1.3, "b2": 1.2, "s1": 0.9, "s2": 0.8})


def record_refiner_sizes(to: Recorder) -> None:
    figures = {}
    for side in ("positive", "negative"):
        ids = RefinerSizes(WIDTH, HEIGHT).ids(positive=side == "positive", scaled=False)
        embedded = get_timestep_embedding(torch.tensor(ids).float(), 256, True, 0).flatten()[None]
        figures[f"adm.refiner.{side}"] = torch.cat(
            [to.figures[f"in.{side[:3]}_pooled"], embedded], dim=1
        )
    to.add("units.adm.refiner", figures)


def record_runs(to: Recorder) -> None:
    asked = {"sampler": "euler", "steps": 3, "seed": SEED, "settings": SETTINGS}
    to.add("sampler.euler.default", {"sampler.euler.default": to.sampled()}, params=asked)
    again = {"refiner.none.joint": to.sampled()}  # without a refiner: one network to the end
    to.add("refiner.none.joint", again, params={**asked, "switch": 2, "swap": "joint"})
    varied = to.sampled(0.6, to.figures["in.init_latent"])
    from_latent = {**asked, "denoise": 0.6, "latent": "in.init_latent"}
    to.add("guid.img2img.0.6", {"guid.img2img.0.6": varied}, params=from_latent)


@torch.inference_mode()
def record_vae(to: Recorder) -> None:
    picture = torch.randint(0, 256, (HEIGHT, WIDTH, 3), dtype=torch.uint8)
    to.figures |= {"vae.pixels_u8": picture, "vae.z": torch.randn(LATENT)}
    pixels = picture.permute(2, 0, 1)[None].float() / 255.0
    odd = to.vae.encode(pixels[..., :77, :109], seeded_generator(SEED))
    part = {"what": "pixels [:77,:109]", "inputs": ["vae.pixels_u8"]}
    to.add("vae.encode_odd", {"vae.encode_odd": odd}, params={"global_seed": SEED}, **part)
    decoded = to.vae.decode(to.figures["vae.z"])[0].permute(1, 2, 0)
    outputs = {
        "vae.decode_u8": (decoded * 255.0).to(torch.uint8),
        "vae.decode_s3": decoded[::3, ::3],
    }
    to.add("vae.decode", outputs, inputs=["vae.z"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recorder = Recorder(tmp_path_factory.mktemp("figures"))
    record_units(recorder)
    record_refiner_sizes(recorder)
    record_runs(recorder)
    record_vae(recorder)
    recorder.write()
    return recorder.folder


def test_every_case_of_a_folder_of_other_sizes_passes(folder: Path) -> None:
    verdicts = list(parity.run_cases(folder))
    assert [verdict.name for verdict in verdicts if not verdict.passed] == []
    assert len(verdicts) == 10
