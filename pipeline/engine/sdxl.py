"""SDXL's networks at work: from a plan to an image.

``SdxlPipeline.text_to_image`` is the whole way of a plain request. What only some images need (an
initial latent, image conditions, FreeU, a refiner) is in ``pipeline.engine.conditioned``.
"""

from functools import partial

import torch
from PIL import Image
from torch import Tensor

from pipeline.engine.conditioned import ConditionedRun, ImageConditions
from pipeline.engine.start import Start
from pipeline.images.resize import resize_lanczos
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.refiner import Refiner
from pipeline.models.vae import Vae
from pipeline.request.plan import ImagePlan
from pipeline.sampling.adm import SdxlSizes
from pipeline.sampling.denoiser import Conditioning, Denoiser
from pipeline.sampling.diffusion import sample
from pipeline.sampling.interface import OnStep
from pipeline.sampling.noise import ImageNoise
from pipeline.sampling.sigmas import make_sigmas


class SdxlPipeline:
    """Makes images with a checkpoint, patched by LoRAs as it is at the moment.

    ``vae`` replaces the checkpoint's own. The noise between steps is drawn on the CPU with
    ``cpu_noise``, otherwise on the device.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        vae: Vae | None = None,
        refiner: Refiner | None = None,
        *,
        cpu_noise: bool = False,
    ) -> None:
        self.checkpoint = checkpoint
        self.refiner = refiner
        self.vae = vae or checkpoint.vae
        self._device = checkpoint.placement.device
        self._draw_on = "cpu" if cpu_noise else self._device
        self._texts = TextCache(checkpoint)

    def make(
        self,
        plan: ImagePlan,
        on_step: OnStep,
        start: Start | None = None,
        conditions: ImageConditions | None = None,
    ) -> Image.Image:
        """The finished image, as large as ``start`` says where there is one.

        Raises whatever ``on_step`` does, and InvalidModelFile for a refiner that does not read the
        checkpoint's prompts.
        """
        conditions = conditions or ImageConditions()
        if start is None and self.refiner is None and _is_plain(plan, conditions):
            return self.text_to_image(plan, on_step)
        run = ConditionedRun(plan, self.checkpoint, self.vae, self.refiner, start, conditions)
        latent = run.sample(self.denoiser(plan), self.noise(plan), on_step)
        image = decode(run.vae, latent, tiled=start is not None and start.tiled)
        if start is not None and start.inpaint is not None:
            return start.inpaint.paste(image)
        return fit(image, plan)

    def text_to_image(self, plan: ImagePlan, on_step: OnStep) -> Image.Image:
        """The image of a plan that begins from noise and has nothing but its prompts to follow."""
        denoise = self.denoiser(plan)
        noise = self.noise(plan)
        sigmas = make_sigmas(plan.sampling, denoise.model_sampling.levels)
        latent = sample(denoise, plan.sampling, sigmas, noise, on_step)
        return fit(decode(self.vae, latent), plan)

    def denoiser(self, plan: ImagePlan) -> Denoiser:
        """The function that samplers call, with the plan's prompts and guidance."""
        positive, negative = self.encode(plan)
        return Denoiser(
            unet=self.checkpoint.unet,
            model_sampling=self.checkpoint.model_sampling.under(plan.sampling.scheduler),
            positive=positive,
            negative=negative,
            guidance=plan.guidance,
            sizes=SdxlSizes(*plan.size.native, plan.guidance),
        )

    def noise(self, plan: ImagePlan) -> ImageNoise:
        """The image's noise, in the shape of its latent."""
        shape = self.checkpoint.model_sampling.latents.shape(*plan.size.native)
        return ImageNoise(plan.seed, shape, self._device, self._draw_on)

    def encode(self, plan: ImagePlan) -> tuple[Conditioning, Conditioning]:
        """Conditioning of the positive and the negative texts."""
        encode = partial(self._texts, clip_skip=plan.clip_skip, loras=plan.loras)
        last = (plan.expansion,) if plan.expansion else ()
        positive = encode((*plan.texts.positives, *last), unpooled=len(last))
        if plan.negative_copies_positive:
            return positive, positive
        return positive, encode(plan.texts.negatives)


class TextCache:
    """Encoded texts of one task, whose images mostly share them."""

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

        ``loras`` are those that the encoders are patched with now.
        """
        key = (texts, clip_skip, unpooled, loras)
        if key not in self._known:
            top = len(texts) - unpooled
            self._known[key] = self._text.encode(texts, clip_skip, pool_top_k=top)
        return self._known[key]


def _is_plain(plan: ImagePlan, conditions: ImageConditions) -> bool:
    """Whether the image follows its prompts alone. Under swap methods other than ``joint`` the
    model takes over from itself, which shows."""
    return conditions.are_none and plan.freeu is None and plan.swap_method == "joint"


def decode(vae: Vae, latent: Tensor, *, tiled: bool = False) -> Image.Image:
    """The image of a latent; in tiles too where the device has no memory for it whole."""
    try:
        pixels = None if tiled else vae.decode(latent)
    except torch.OutOfMemoryError:
        pixels = None  # outside the except block on purpose: its traceback keeps tensors alive
    if pixels is None:
        pixels = vae.decode_tiled(latent)
    # Truncated, as Fooocus does: rounding would make half of all pixels one brighter.
    levels = pixels[0].mul(255.0).to(torch.uint8).permute(1, 2, 0)
    return Image.fromarray(levels.cpu().numpy())


def fit(image: Image.Image, plan: ImagePlan) -> Image.Image:
    """The image in the size that was asked for."""
    size = plan.size
    return resize_lanczos(image, size.width, size.height) if size.resized else image
