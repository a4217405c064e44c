"""One picture, in the order it happens: load, encode, denoise, decode, bring to size."""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from PIL import Image
from torch import Tensor

from pipeline.engine.networks import Patches, networks
from pipeline.engine.preview import MIME, draw_preview
from pipeline.engine.refiner_latents import hand_over, last_vae
from pipeline.engine.start import Start
from pipeline.images.resize import resize_lanczos
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.refiner import Refiner
from pipeline.models.vae import Vae
from pipeline.request.plan import ImagePlan
from pipeline.sampling.adm import SdxlSizes
from pipeline.sampling.denoiser import Conditioning, Denoiser
from pipeline.sampling.interface import OnStep
from pipeline.sampling.latent_format import LatentRgb
from pipeline.sampling.noise import ImageNoise
from pipeline.sampling.refiner import RefinerSwap, sample_with_refiner
from pipeline.scheduling.task import Reporter

PREPARED = 13  # percent of a task's progress when sampling begins


class EncodeTexts(Protocol):
    """Texts to one conditioning, as ``TextCache`` does it."""

    def __call__(
        self, texts: tuple[str, ...], clip_skip: int, *, unpooled: int = 0
    ) -> Conditioning:
        """The last ``unpooled`` texts have no part in the pooled sum."""


class TextCache:
    """Encoded texts of one task: its pictures mostly share them."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._text = checkpoint.text
        self._known: dict[tuple[object, ...], Conditioning] = {}

    def __call__(
        self,
        texts: tuple[str, ...],
        clip_skip: int,
        *,
        unpooled: int = 0,
        loras: tuple[tuple[str, float], ...] = (),
    ) -> Conditioning:
        """Conditioning of several texts; the last ``unpooled`` are not in the pooled sum.

        ``loras`` are those that are in the encoders now.
        """
        key = (texts, clip_skip, unpooled, loras)
        if key not in self._known:
            top = len(texts) - unpooled
            self._known[key] = self._text.encode(texts, clip_skip, pool_top_k=top)
        return self._known[key]


@dataclass(frozen=True, slots=True)
class Making:
    """What a picture is made with, and what it begins from (None: noise alone)."""

    checkpoint: Checkpoint
    refiner: Refiner | None = None
    start: Start | None = None
    patches: Patches = field(default_factory=Patches)
    cpu_noise: bool = False  # draw the noise between steps on the CPU too

    @property
    def changes_network(self) -> bool:
        """Is it another network that goes on from the switch?"""
        return self.refiner is not None or self.patches.take_off is not None


def make_image(
    plan: ImagePlan, making: Making, encode: EncodeTexts, on_step: OnStep
) -> Image.Image:
    """The finished picture of ``plan``. Whatever ``on_step`` raises ends it.

    Raises InvalidModelFile if the refiner cannot read the model's prompts.
    """
    positive, negative = encode_prompts(plan, encode)
    latent = denoise(plan, making, positive, negative, on_step)
    start = making.start
    vae = last_vae(plan, making.checkpoint, making.refiner)
    image = decode(vae, latent, tiled=start is not None and start.tiled)
    if start is not None and start.inpaint is not None:
        return start.inpaint.paste(image)
    size = plan.size
    return resize_lanczos(image, size.width, size.height) if size.resized else image


def encode_prompts(plan: ImagePlan, encode: EncodeTexts) -> tuple[Conditioning, Conditioning]:
    """Conditioning of the positive and the negative texts."""
    last = (plan.expansion,) if plan.expansion else ()
    positive = encode((*plan.texts.positives, *last), plan.clip_skip, unpooled=len(last))
    if plan.negative_copies_positive:
        return positive, positive
    return positive, encode(plan.texts.negatives, plan.clip_skip)


def denoise(
    plan: ImagePlan,
    making: Making,
    positive: Conditioning,
    negative: Conditioning,
    on_step: OnStep,
) -> Tensor:
    """The latent (1, 4, H/8, W/8) in the VAE's space.

    Without a refiner the model takes over from itself, which ``separate`` and ``vae`` show; of a
    ``joint`` run one network makes all then.
    """
    checkpoint, start = making.checkpoint, making.start
    size = plan.size
    bare = Denoiser(
        unet=checkpoint.unet,
        model_sampling=checkpoint.model_sampling.under(plan.sampling.scheduler),
        positive=positive,
        negative=negative,
        guidance=plan.guidance,
        sizes=SdxlSizes(size.native_width, size.native_height, plan.guidance),
    )
    shape = checkpoint.model_sampling.latents.shape(*size.native)
    device = checkpoint.placement.device
    draw_on = "cpu" if making.cpu_noise else device
    noise = ImageNoise(plan.seed, shape, device, draw_on)
    inpainting = start.inpaint.inpainting if start and start.inpaint else None
    latent = start.latent if start else None
    alone = plan.swap_method == "joint" and not making.changes_network
    scheduler = plan.sampling.scheduler
    with networks(bare, checkpoint, making.patches, making.refiner, scheduler) as (first, second):
        taker = first if alone else second
        swap = RefinerSwap(first, taker, plan.switch, plan.swap_method, inpainting)
        if making.refiner is not None:
            swap, latent = hand_over(plan, swap, latent, checkpoint, making.refiner)
        return sample_with_refiner(swap, plan.sampling, noise, on_step, latent)


def decode(vae: Vae, latent: Tensor, *, tiled: bool = False) -> Image.Image:
    """The picture of a latent; in tiles too where the device has no room for it whole."""
    try:
        pixels = None if tiled else vae.decode(latent)
    except torch.OutOfMemoryError:
        pixels = None  # the tiles are decoded after the failed attempt's memory is free
    if pixels is None:
        pixels = vae.decode_tiled(latent)
    # Truncated, as Fooocus does: rounding would make half of all pixels one brighter.
    levels = pixels[0].mul(255.0).to(torch.uint8).permute(1, 2, 0)
    return Image.fromarray(levels.cpu().numpy())


class Place(NamedTuple):
    """Where a run stands in its task: picture and stage count from 1."""

    image: int
    images: int
    stage: int = 1  # of the picture: the first is its making, others enhance it
    stages: int = 1

    def stage_after(self, number: int) -> "Place":
        """The place ``number`` stages later."""
        return self._replace(stage=self.stage + number)

    def percent(self, share: float) -> int:
        """Progress of the task when ``share`` (0...1) of this run is done."""
        runs = (self.image - 1) * self.stages + self.stage - 1
        return int(PREPARED + (100 - PREPARED) * (runs + share) / (self.stages * self.images))

    def __str__(self) -> str:
        enhancement = f", enhancement {self.stage - 1}/{self.stages - 1}" if self.stage > 1 else ""
        return f"image {self.image}/{self.images}{enhancement}"


class StepReport:
    """Tells of each step: stop and skip, preview, progress."""

    def __init__(self, plan: ImagePlan, place: Place, reporter: Reporter, rgb: LatentRgb) -> None:
        self._plan = plan
        self._place = place
        self._reporter = reporter
        self._rgb = rgb

    def __call__(self, index: int, denoised: Tensor) -> None:
        """After the model's guess of step ``index`` (from 0)."""
        self._reporter.check()
        if self._reporter.wants_preview():
            self._reporter.preview(draw_preview(denoised, self._rgb), MIME)
        steps = self._plan.sampling.steps
        step = min(index + 1, steps)  # an adaptive sampler may take more
        self._reporter.progress(
            self._place.percent((step - 1) / steps),
            f"Sampling step {step}/{steps}, {self._place} ...",
            step=step,
            steps=steps,
        )
