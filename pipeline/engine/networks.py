"""The two networks of one picture: what is on the first one, and what the second goes on without.

Knows no schedule and no files.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from torch import Tensor

from pipeline.adapters.control import ControlledUNet
from pipeline.adapters.freeu import freeu_applied
from pipeline.adapters.ip_attention import image_prompts_applied
from pipeline.engine.image_conditions import ImageConditions
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.refiner import Refiner, refiner_denoiser
from pipeline.models.unet import UNet
from pipeline.request.sampling import FreeU
from pipeline.sampling.denoiser import Denoiser, NetworkInput, UNetCall
from pipeline.sampling.inpainting import feature_added


@dataclass(frozen=True, slots=True)
class Patches:
    """What changes the base model's own network for a picture. A refiner has none of it."""

    freeu: FreeU | None = None
    feature: Tensor | None = None  # of an inpaint head, (1, C, h, w)
    conditions: ImageConditions = dataclasses.field(default_factory=ImageConditions)
    take_off: Callable[[], None] | None = None  # takes an inpaint patch out of the weights

    @property
    def touch_layers(self) -> bool:
        """Do some of the network's layers work otherwise than they were built?"""
        return self.freeu is not None or self.feature is not None or bool(self.conditions.prompts)


@contextmanager
def networks(
    base: Denoiser,
    checkpoint: Checkpoint,
    patches: Patches,
    refiner: Refiner | None,
    scheduler: str,
) -> Iterator[tuple[Denoiser, Denoiser]]:
    """The picture's first and second network, inside the block; ``base`` asks the model's bare.

    The second one is the refiner, or else the model itself: without its inpaint patch and all that
    steers it where there is one to take off, without controls where a run of its own begins with
    it, as in Fooocus. Raises InvalidModelFile if the refiner cannot read the model's prompts.
    """
    unet = checkpoint.unet
    with ExitStack() as stack:
        patched = PatchedUNet(unet, patches)
        first = dataclasses.replace(
            base, unet=_with_conditions(patched, base, patches.conditions, stack)
        )
        if refiner is not None:
            yield first, refiner_denoiser(refiner, base, scheduler, checkpoint.text)
        elif patches.take_off is not None:
            yield first, dataclasses.replace(base, unet=_Freed(unet, patches.take_off))
        elif patches.conditions.controls:
            alone = dataclasses.replace(patches.conditions, controls=())
            yield (
                first,
                dataclasses.replace(base, unet=_with_conditions(patched, base, alone, stack)),
            )
        else:
            yield first, first


class PatchedUNet:
    """A UNet with FreeU and an inpaint head's feature, whenever it is asked through this."""

    def __init__(self, unet: UNet, patches: Patches) -> None:
        self.module = unet.module
        self._ask = unet.as_built if patches.touch_layers else unet
        self._patches = patches

    def __call__(
        self,
        given: NetworkInput,
        down_residuals: Sequence[Tensor] | None = None,
        middle_residual: Tensor | None = None,
    ) -> Tensor:
        """As ``UNet``."""
        with (
            freeu_applied(self.module, self._patches.freeu),
            feature_added(self.module, self._patches.feature),
        ):
            return self._ask(given, down_residuals, middle_residual)


class _Freed:
    """A UNet whose patch is taken off when it is first asked through this."""

    def __init__(self, unet: UNet, take_off: Callable[[], None]) -> None:
        self._unet = unet
        self._take_off = take_off
        self._is_off = False

    def __call__(self, given: NetworkInput) -> Tensor:
        if not self._is_off:
            self._take_off()
            self._is_off = True
        return self._unet(given)


def _with_conditions(
    patched: PatchedUNet, base: Denoiser, conditions: ImageConditions, stack: ExitStack
) -> UNetCall:
    """The network under controls, and under image prompts until ``stack`` ends."""
    levels = base.model_sampling.levels
    call: UNetCall = patched
    if conditions.controls:
        call = ControlledUNet(patched, conditions.controls, conditions.softness, levels)
    return stack.enter_context(
        image_prompts_applied(call, patched.module, conditions.prompts, levels)
    )
