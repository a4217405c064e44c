"""Runs with more than prompts: an initial latent, a mask, image conditions, FreeU, a refiner."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from torch import Tensor

from pipeline.adapters.control import Control, ControlledUNet
from pipeline.adapters.freeu import freeu_applied
from pipeline.adapters.ip_attention import ImagePrompt, image_prompts_applied
from pipeline.engine.refiner_latents import in_their_latents
from pipeline.engine.start import Start
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.refiner import Refiner, refiner_denoiser
from pipeline.models.unet import UNet
from pipeline.models.vae import Vae
from pipeline.request.plan import ImagePlan
from pipeline.request.sampling import FreeU
from pipeline.sampling.batch import Batch
from pipeline.sampling.denoiser import Denoiser, NetworkInput, UNetCall
from pipeline.sampling.diffusion import NetworkDenoise, sample
from pipeline.sampling.inpainting import Inpainting, MaskedDenoise, feature_added
from pipeline.sampling.noise import RunNoise
from pipeline.sampling.refiner import RefinerSwap, sample_with_refiner
from pipeline.sampling.sigmas import make_sigmas


@dataclass(frozen=True, slots=True)
class InpaintPatch:
    """Fooocus's inpaint engine in the base model, until the step at which the run switches."""

    feature: Tensor  # (1, C, h, w), what the inpaint head adds behind the first layer
    remove: Callable[[], None]  # takes the patch out of the weights


@dataclass(frozen=True, slots=True)
class ImageConditions:
    """What an image follows beside its prompts. Conditions the base model; a refiner has none."""

    controls: tuple[Control, ...] = ()
    prompts: tuple[ImagePrompt, ...] = ()
    softness: float = 0.0  # of the controls
    inpaint: InpaintPatch | None = None

    @property
    def are_none(self) -> bool:
        """Whether there is nothing to follow."""
        return not self.controls and not self.prompts and self.inpaint is None


@dataclass(frozen=True, slots=True)
class ConditionedRun:
    """The run of a batch. ``base_vae`` is the checkpoint's or the one in its place.

    The plans differ in nothing but seeds and prompts.
    """

    plans: Sequence[ImagePlan]
    checkpoint: Checkpoint
    base_vae: Vae
    refiner: Refiner | None
    start: Start | None
    conditions: ImageConditions

    @property
    def plan(self) -> ImagePlan:
        """A plan for what all of them share."""
        return self.plans[0]

    def sample(self, bare: Denoiser, noise: RunNoise, batch: Batch) -> Tensor:
        """The finished latents in the space of ``final_vae``; ``bare`` has the prompts alone.

        Raises InvalidModelFile if the refiner cannot read the model's prompts.
        """
        plan, start = self.plan, self.start
        latent = start.latent if start else None
        inpainting = start.inpaint.inpainting if start and start.inpaint else None
        with ExitStack() as stack:
            first = stack.enter_context(conditioned(bare, self.conditions, plan.freeu))
            second = self._second(bare, first, stack)
            if second is None:
                denoise = _masked(batch.denoise(first), inpainting, noise.seeds)
                sigmas = make_sigmas(plan.sampling, denoise.model_sampling.levels)
                return sample(denoise, plan.sampling, sigmas, noise, batch.on_step, latent)
            networks = batch.denoise(first), batch.denoise(second)
            swap = RefinerSwap(*networks, plan.switch, plan.swap_method, inpainting)
            if self.refiner is not None:
                swap, latent = in_their_latents(
                    self.plans, swap, latent, self.base_vae, self.refiner
                )
            return sample_with_refiner(swap, plan.sampling, noise, batch.on_step, latent)

    def _second(self, bare: Denoiser, first: Denoiser, stack: ExitStack) -> Denoiser | None:
        """The network that takes over at the switch; None where the first one goes on.

        That is the refiner, or else the model itself: without its inpaint patch and all conditions
        where it has one, and without controls where a run of its own begins, as in Fooocus.
        """
        plan, conditions = self.plan, self.conditions
        if self.refiner is not None:
            scheduler = plan.sampling.scheduler
            return refiner_denoiser(self.refiner, bare, scheduler, self.checkpoint.text)
        if conditions.inpaint is not None and plan.refines_itself:
            return replace(bare, unet=_Unpatched(self.checkpoint.unet, conditions.inpaint.remove))
        if plan.swap_method == "joint":
            return None
        if not conditions.controls:
            return first
        alone = replace(conditions, controls=())
        return stack.enter_context(conditioned(bare, alone, plan.freeu))


@contextmanager
def conditioned(
    bare: Denoiser, conditions: ImageConditions, freeu: FreeU | None
) -> Iterator[Denoiser]:
    """Within the block, ``bare`` with FreeU and the conditions around its network."""
    unet, levels = bare.unet, bare.model_sampling.levels
    if not isinstance(unet, UNet):
        raise TypeError("conditions need the network's layers")
    patched = PatchedUNet(unet, conditions, freeu)
    call: UNetCall = patched
    if conditions.controls:
        call = ControlledUNet(patched, conditions.controls, conditions.softness, levels)
    with image_prompts_applied(call, patched.module, conditions.prompts, levels) as applied:
        yield replace(bare, unet=applied)


class PatchedUNet:
    """A UNet with FreeU and an inpaint head's feature, while it is called through this."""

    def __init__(self, unet: UNet, conditions: ImageConditions, freeu: FreeU | None) -> None:
        self.module = unet.module
        self._freeu = freeu
        self._feature = conditions.inpaint.feature if conditions.inpaint else None
        changed = freeu is not None or self._feature is not None or bool(conditions.prompts)
        self._call = unet.as_built if changed else unet

    def __call__(
        self,
        given: NetworkInput,
        down_residuals: Sequence[Tensor] | None = None,
        middle_residual: Tensor | None = None,
    ) -> Tensor:
        """As ``UNet``."""
        with freeu_applied(self.module, self._freeu), feature_added(self.module, self._feature):
            return self._call(given, down_residuals, middle_residual)


class _Unpatched:
    """A UNet whose inpaint patch is removed at the first call."""

    def __init__(self, unet: UNet, remove: Callable[[], None]) -> None:
        self._unet = unet
        self._remove = remove
        self._is_removed = False

    def __call__(self, given: NetworkInput) -> Tensor:
        if not self._is_removed:
            self._remove()
            self._is_removed = True
        return self._unet(given)


def _masked(
    network: NetworkDenoise, inpainting: Inpainting | None, seeds: Sequence[int]
) -> NetworkDenoise:
    if inpainting is None:
        return network
    return MaskedDenoise(network, network.model_sampling, inpainting, seeds)
