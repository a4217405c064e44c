"""Which engine runs a picture's networks on a CPU: torch, or OpenVINO once it is prepared.

A picture begins and ends with one engine. The first one of a model, of its LoRAs and of a size is
made by torch, with a call of each network kept; then, in the background, the networks are exported
(once per model), compiled, and checked against the kept calls. Later pictures use them.
"""

import logging
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, cast
from weakref import WeakSet

import torch

from pipeline.engine.conditioned import ImageConditions
from pipeline.engine.options import EngineOptions
from pipeline.engine.preparation import Preparation, PreparationFailed, Prepared
from pipeline.engine.sdxl import MadeRow
from pipeline.errors import PipelineError
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.flat_networks import LatentShape, fits, is_flat
from pipeline.models.openvino_files import IrFiles
from pipeline.models.openvino_networks import DecoderSample, Shape, UNetSample
from pipeline.models.openvino_runtime import is_installed
from pipeline.request.plan import ImagePlan
from pipeline.sampling.guidance import positive_only

log = logging.getLogger(__name__)

TORCH: Final = "torch"
OPENVINO: Final = "openvino"
_PREPARED: Final = "OpenVINO is prepared behind the first picture"
_KEPT: Final = 3  # compiled networks of one model: as many sizes or sets of LoRAs


class EngineMissing(PipelineError):
    """The engine that was asked for is not installed, or does not work on the device."""

    code = "engine_missing"


class _Key(NamedTuple):
    loras: Hashable
    shape: Shape


_Known = OrderedDict[_Key, Preparation]


class CpuEngines:
    """The engines of one device. Device thread only."""

    def __init__(self, options: EngineOptions, device: torch.device, models_dir: Path) -> None:
        """Raises EngineMissing."""
        self._precision = options.precision
        self._files = IrFiles(models_dir)
        self._preparations: WeakSet[Preparation] = WeakSet()
        self._told: set[str] = set()
        self._is_on = _wants_openvino(options, device)

    @property
    def is_on(self) -> bool:
        """Whether OpenVINO is used where it can be."""
        return self._is_on

    def choose(
        self, checkpoint: Checkpoint, plan: ImagePlan, conditions: ImageConditions
    ) -> "ChosenEngine":
        """The engine of a run whose weights, LoRAs included, are those of now."""
        if not self._is_on:
            return ChosenEngine(checkpoint, "")
        run = _Run(checkpoint, plan, conditions)
        if reason := run.unfit():
            return self._torch(checkpoint, reason)
        known = cast(_Known, checkpoint.unet.prepared)
        if (preparation := known.get(run.key)) is None:
            preparation = known[run.key] = self._preparation(run)
            while len(known) > _KEPT:
                known.popitem(last=False)
        known.move_to_end(run.key)
        try:
            ready = preparation.result()
        except PreparationFailed as failure:
            return self._torch(checkpoint, str(failure))
        if ready is not None:
            return ChosenEngine(checkpoint, f"{OPENVINO} {ready.precision}", ready)
        return ChosenEngine(checkpoint, f"{TORCH} ({_PREPARED})", preparation)

    def wait(self, timeout_s: float) -> bool:
        """Wait for all that is being prepared; whether it ended in time."""
        return all(each.wait(timeout_s) for each in list(self._preparations))

    def _preparation(self, run: "_Run") -> Preparation:
        checkpoint = run.checkpoint
        shape = run.key.shape
        decoder = None
        if checkpoint.own_vae is not None and self._precision == "fast":
            # In float32 the VAE gains nothing: 122 ms against 128.
            latent = (1, checkpoint.model_sampling.latents.channels, *shape.latent)
            decoder = DecoderSample(checkpoint.own_vae, latent)
        preparation = Preparation(
            checkpoint=checkpoint,
            shape=shape,
            precision=self._precision,
            files=self._files,
            unet=UNetSample(checkpoint.unet),
            decoder=decoder,
        )
        self._preparations.add(preparation)
        return preparation

    def _torch(self, checkpoint: Checkpoint, reason: str) -> "ChosenEngine":
        if reason not in self._told:
            self._told.add(reason)
            log.info("torch makes the picture: %s", reason)
        return ChosenEngine(checkpoint, f"{TORCH} ({reason})")


class ChosenEngine:
    """What runs the networks of one run. ``name``: "openvino exact", "openvino fast", or "torch"
    with the reason; "" where nothing but torch was wanted."""

    def __init__(
        self, checkpoint: Checkpoint, name: str, networks: Prepared | Preparation | None = None
    ) -> None:
        self.name = name
        self._unet = checkpoint.unet
        self._vae = checkpoint.own_vae
        self._networks = networks

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Within the block the UNet is called by this engine."""
        self._unet.use(self._networks.unet if self._networks else None)
        try:
            yield
        finally:
            self._unet.use(None)

    def decoding(self, made: Iterator[MadeRow]) -> Iterator[MadeRow]:
        """The images with this engine's name; the checkpoint's VAE decodes each by it.

        Behind the first ones, what other pictures will need is prepared.
        """
        while True:
            if self._vae is not None:
                self._vae.use(self._networks.decoder if self._networks else None)
            try:
                row = next(made, None)
            finally:
                if self._vae is not None:
                    self._vae.use(None)
            if row is None:
                break
            yield row._replace(engine=self.name)
        if isinstance(self._networks, Preparation):
            self._networks.begin()


@dataclass(frozen=True, slots=True)
class _Run:
    """A picture, or several together, with what it follows."""

    checkpoint: Checkpoint
    plan: ImagePlan
    conditions: ImageConditions

    @property
    def latent(self) -> LatentShape:
        latents = self.checkpoint.model_sampling.latents
        return LatentShape(*latents.shape(*self.plan.size.native)[2:])

    @property
    def key(self) -> _Key:
        rows = 1 if positive_only(self.plan.guidance) else 2
        shape = Shape(self.latent, rows, bool(self.conditions.controls))
        return _Key(self.checkpoint.loras.key, shape)

    def unfit(self) -> str:
        """Why only torch can make it; "" if OpenVINO can."""
        unet, conditions = self.checkpoint.unet, self.conditions
        reasons = {
            "FreeU works on the network's layers": self.plan.freeu is not None,
            "image prompts work on the network's layers": bool(conditions.prompts),
            "the inpaint head works on the network's layers": conditions.inpaint is not None,
            "an inpainting checkpoint has other inputs": unet.is_inpainting,
            "the network is of another kind than SDXL's": not is_flat(unet.module),
            "the latent is no whole number of the network's cells": not fits(
                unet.module, self.latent
            ),
        }
        return next((reason for reason, is_so in reasons.items() if is_so), "")


def _wants_openvino(options: EngineOptions, device: torch.device) -> bool:
    """Whether to use it where it can. Raises EngineMissing."""
    asked = options.cpu_engine
    if asked == "torch" or options.compile_unet:
        return False
    there = is_installed() and device.type == "cpu"
    if asked == OPENVINO and not there:
        raise EngineMissing(
            "--cpu-engine openvino needs a CPU as the device and the package of"
            " requirements-openvino.txt: pip install --no-deps -r requirements-openvino.txt"
        )
    return there
