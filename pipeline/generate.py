"""One picture, in the order it happens: load, encode, denoise, decode, bring to size."""

from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor

from pipeline.images.preview import MIME, LatentColours, draw_preview
from pipeline.images.resize import resize_lanczos
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.refiner import Refiner, refiner_denoiser
from pipeline.models.vae import FACTOR, Vae
from pipeline.plan import ImagePlan
from pipeline.sampling.denoiser import Conditioning, Denoiser
from pipeline.sampling.diffusion import Run
from pipeline.sampling.freeu import FreeU, freeu_applied
from pipeline.sampling.guidance import Guidance
from pipeline.sampling.interface import OnStep
from pipeline.sampling.model_sampling import model_sampling_for
from pipeline.sampling.refiner import Relay, diffuse_relay
from pipeline.tasks import Reporter

PREPARED = 13  # percent of a task's progress when sampling begins
LATENT_CHANNELS = 4

EncodeTexts = Callable[[tuple[str, ...], int], Conditioning]


class TextCache:
    """Encoded texts of one task: its pictures mostly share them."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._text = checkpoint.text
        self._known: dict[tuple[tuple[str, ...], int], Conditioning] = {}

    def __call__(self, texts: tuple[str, ...], clip_skip: int) -> Conditioning:
        """Conditioning of several texts, all counted in the pooled sum."""
        key = (texts, clip_skip)
        if key not in self._known:
            self._known[key] = self._text.encode(texts, clip_skip, pool_top_k=len(texts))
        return self._known[key]


def make_image(
    plan: ImagePlan,
    checkpoint: Checkpoint,
    encode: EncodeTexts,
    on_step: OnStep,
    refiner: Refiner | None = None,
) -> Image.Image:
    """The finished picture of ``plan``. Whatever ``on_step`` raises ends it.

    Raises InvalidModelFile if the refiner cannot read the model's prompts.
    """
    positive, negative = encode_prompts(plan, encode)
    latent = denoise(plan, checkpoint, positive, negative, on_step, refiner)
    image = decode(checkpoint.vae, latent)
    return resize_lanczos(image, plan.width, plan.height) if plan.resize else image


def encode_prompts(plan: ImagePlan, encode: EncodeTexts) -> tuple[Conditioning, Conditioning]:
    """Conditioning of the positive and the negative texts."""
    positive = encode(plan.positives, plan.clip_skip)
    if plan.negative_copies_positive:
        return positive, positive
    return positive, encode(plan.negatives, plan.clip_skip)


def denoise(
    plan: ImagePlan,
    checkpoint: Checkpoint,
    positive: Conditioning,
    negative: Conditioning,
    on_step: OnStep,
    refiner: Refiner | None = None,
) -> Tensor:
    """The latent (1, 4, H/8, W/8) in the VAE's space.

    Without a refiner the model takes over from itself, which ``separate`` and ``vae`` show.
    """
    denoiser = Denoiser(
        unet=checkpoint.unet,
        model_sampling=model_sampling_for(plan.scheduler),
        positive=positive,
        negative=negative,
        guidance=guidance_of(plan),
        width=plan.native_width,
        height=plan.native_height,
    )
    second = refiner_denoiser(refiner.unet, denoiser) if refiner else denoiser
    relay = Relay(denoiser, second, plan.switch, plan.swap_method)
    run = Run(
        sampler=plan.sampler,
        scheduler=plan.scheduler,
        steps=plan.steps,
        seed=plan.seed,
        cpu_noise=False,  # only the initial noise is drawn on the CPU, as Fooocus does
    )
    shape = (1, LATENT_CHANNELS, plan.native_height // FACTOR, plan.native_width // FACTOR)
    freeu = FreeU(*plan.freeu) if plan.freeu else None
    with freeu_applied(checkpoint.unet.module, freeu):  # the refiner has none, as in Fooocus
        return diffuse_relay(relay, run, shape, on_step, device=checkpoint.placement.device)


def guidance_of(plan: ImagePlan) -> Guidance:
    """The plan's guidance settings."""
    return Guidance(
        cfg=plan.cfg,
        sharpness=plan.sharpness,
        adaptive_cfg=plan.adaptive_cfg,
        adm_scaler_positive=plan.adm_positive,
        adm_scaler_negative=plan.adm_negative,
        adm_scaler_end=plan.adm_end,
    )


def decode(vae: Vae, latent: Tensor) -> Image.Image:
    """The picture of a latent; in tiles where the device has no room for it whole."""
    try:
        pixels = vae.decode(latent)
    except torch.OutOfMemoryError:
        pixels = None  # the tiles are decoded after the failed attempt's memory is free
    if pixels is None:
        pixels = vae.decode_tiled(latent)
    # Truncated, as Fooocus does: rounding would make half of all pixels one brighter.
    levels = pixels[0].mul(255.0).to(torch.uint8).permute(1, 2, 0)
    return Image.fromarray(levels.cpu().numpy())


class StepReport:
    """Tells of each step: stop and skip, preview, progress."""

    def __init__(
        self, plan: ImagePlan, images: int, reporter: Reporter, colours: LatentColours
    ) -> None:
        self._plan = plan
        self._images = images
        self._reporter = reporter
        self._colours = colours

    def __call__(self, index: int, denoised: Tensor) -> None:
        """After the model's guess of step ``index`` (from 0)."""
        self._reporter.check()
        if self._reporter.wants_preview():
            self._reporter.preview(draw_preview(denoised, self._colours), MIME)
        steps, image = self._plan.steps, self._plan.index + 1
        step = min(index + 1, steps)  # an adaptive sampler may take more
        self._reporter.progress(
            progress_percent(image, self._images, step - 1, steps),
            f"Sampling step {step}/{steps}, image {image}/{self._images} ...",
            step=step,
            steps=steps,
        )


def progress_percent(image: int, images: int, done: int, steps: int) -> int:
    """Progress of a task after ``done`` steps of picture ``image`` (from 1)."""
    made = (image - 1) * steps + done
    return int(PREPARED + (100 - PREPARED) * made / (steps * images))
