"""SDXL's networks at work: from plans to images.

``SdxlPipeline.text_to_latents`` is the whole way of a plain request through the networks. What
only some images need (an initial latent, image conditions, FreeU, a refiner) is in
``pipeline.engine.conditioned``.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from pipeline.engine.conditioned import ConditionedRun, ImageConditions
from pipeline.engine.refiner_latents import final_vae
from pipeline.engine.start import Start
from pipeline.errors import PipelineError
from pipeline.images.resize import resize_lanczos
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.refiner import Refiner
from pipeline.models.vae import Vae
from pipeline.request.plan import ImagePlan
from pipeline.sampling.adm import SdxlSizes
from pipeline.sampling.batch import Batch
from pipeline.sampling.denoiser import Conditioning, Denoiser, share_a_call, stacked
from pipeline.sampling.diffusion import sample
from pipeline.sampling.interface import OnStep
from pipeline.sampling.noise import BatchNoise, ImageNoise
from pipeline.sampling.sigmas import make_sigmas


class ImageRun(NamedTuple):
    """An image to be made. ``on_step`` gets its guesses (1, C, h, w) and may raise to end it."""

    plan: ImagePlan
    on_step: OnStep


class MadeRow(NamedTuple):
    """The finished image of the run with that index."""

    row: int
    image: Image.Image
    engine: str = ""  # as ``ImagePlan.engine``


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
        (made,) = self.make_batch([ImageRun(plan, on_step)], start, conditions)
        return made.image

    def make_batch(
        self,
        runs: Sequence[ImageRun],
        start: Start | None = None,
        conditions: ImageConditions | None = None,
    ) -> Iterator[MadeRow]:
        """The images of plans whose ``shared_plan`` is the same, as ``make`` would make them but
        for rounding. All are sampled before this returns, then decoded one by one.

        One whose ``on_step`` raises PipelineError is left out; if all do, the last error is raised.
        """
        conditions = conditions or ImageConditions()
        sampled: list[tuple[int, Tensor]] = []
        groups = self._sharing(runs)
        for rows in groups:
            plans = [runs[row].plan for row in rows]
            batch = Batch([runs[row].on_step for row in rows])
            try:
                latents = self._latents(plans, batch, start, conditions)
            except PipelineError:
                # Raised by no step of an image, or by that of the last one of all.
                if batch.rows or (rows is groups[-1] and not sampled):
                    raise
                continue
            sampled += [(rows[each], latents[each : each + 1]) for each in batch.rows]
        vae = final_vae(runs[0].plan, self.vae, self.refiner)
        return (
            MadeRow(row, finished(decode(vae, latent, start), runs[row].plan, start))
            for row, latent in sampled
        )

    def _latents(
        self,
        plans: Sequence[ImagePlan],
        batch: Batch,
        start: Start | None,
        conditions: ImageConditions,
    ) -> Tensor:
        """The latents of plans that share a run, and calls of the network in it."""
        if start is None and self.refiner is None and _is_plain(plans[0], conditions):
            return self.text_to_latents(plans, batch)
        run = ConditionedRun(plans, self.checkpoint, self.vae, self.refiner, start, conditions)
        return run.sample(self.denoiser(plans), self.noise(plans), batch)

    def text_to_latents(self, plans: Sequence[ImagePlan], batch: Batch) -> Tensor:
        """The latents (B, C, h, w) of plans that begin from noise and have nothing but their
        prompts to follow."""
        denoise = batch.denoise(self.denoiser(plans))
        settings = plans[0].sampling
        sigmas = make_sigmas(settings, denoise.model_sampling.levels)
        return sample(denoise, settings, sigmas, self.noise(plans), batch.on_step)

    def denoiser(self, plans: Sequence[ImagePlan]) -> Denoiser:
        """The function that samplers call, with the plans' prompts and their common guidance."""
        prompts = [self.encode(plan) for plan in plans]
        common = plans[0]
        return Denoiser(
            unet=self.checkpoint.unet,
            model_sampling=self.checkpoint.model_sampling.under(common.sampling.scheduler),
            positive=stacked([positive for positive, _ in prompts]),
            negative=stacked([negative for _, negative in prompts]),
            guidance=common.guidance,
            sizes=SdxlSizes(*common.size.native, common.guidance),
        )

    def noise(self, plans: Sequence[ImagePlan]) -> BatchNoise:
        """The images' noise, in the shape of their latents."""
        shape = self.checkpoint.model_sampling.latents.shape(*plans[0].size.native)
        return BatchNoise(
            [ImageNoise(plan.seed, shape, self._device, self._draw_on) for plan in plans]
        )

    def encode(self, plan: ImagePlan) -> tuple[Conditioning, Conditioning]:
        """Conditioning of the positive and the negative texts."""
        encode = partial(self._texts, clip_skip=plan.clip_skip, loras=plan.loras)
        last = (plan.expansion,) if plan.expansion else ()
        positive = encode((*plan.texts.positives, *last), unpooled=len(last))
        if plan.negative_copies_positive:
            return positive, positive
        return positive, encode(plan.texts.negatives)

    def _sharing(self, runs: Sequence[ImageRun]) -> list[list[int]]:
        """The runs by index: together where prompts of all lengths fit in one call of the
        network, otherwise those of the same lengths."""
        prompts = [self.encode(run.plan) for run in runs]
        if share_a_call([each for pair in prompts for each in pair]):
            return [list(range(len(runs)))]
        groups: dict[tuple[int, ...], list[int]] = {}
        for row, pair in enumerate(prompts):
            groups.setdefault(tuple(each.context.shape[1] for each in pair), []).append(row)
        return list(groups.values())


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


def decode(vae: Vae, latent: Tensor, start: Start | None = None) -> Image.Image:
    """The image of one latent; in tiles where its start was encoded in tiles, or where the device
    has no memory for it whole."""
    try:
        pixels = None if start is not None and start.tiled else vae.decode(latent)
    except torch.OutOfMemoryError:
        pixels = None  # outside the except block on purpose: its traceback keeps tensors alive
    if pixels is None:
        pixels = vae.decode_tiled(latent)
    # Truncated, as Fooocus does: rounding would make half of all pixels one brighter.
    levels = pixels[0].mul(255.0).to(torch.uint8).permute(1, 2, 0)
    return Image.fromarray(levels.cpu().numpy())


def finished(image: Image.Image, plan: ImagePlan, start: Start | None) -> Image.Image:
    """The image in its surroundings, or in the size that was asked for."""
    if start is not None and start.inpaint is not None:
        return start.inpaint.paste(image)
    size = plan.size
    return resize_lanczos(image, size.width, size.height) if size.resized else image
