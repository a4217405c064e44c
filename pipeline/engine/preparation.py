"""The preparation of OpenVINO's networks, in the background, while torch makes pictures."""

import logging
import os
import threading
from collections.abc import Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor

from pipeline.memory.cache import module_bytes
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.openvino_files import ExportFailed, IrFiles
from pipeline.models.openvino_networks import (
    LEAST_PSNR,
    DecoderSample,
    OpenVinoDecoder,
    OpenVinoUNet,
    Shape,
    UNetSample,
    compile_decoder,
    compile_unet,
)
from pipeline.models.openvino_runtime import Precision, Runtime
from pipeline.weights.main_memory import memory_bytes, resident_bytes

log = logging.getLogger(__name__)

_NICE: Final = 10  # pictures come first

# Bytes wanted for each byte of the network's weights: to export it, and to have it compiled.
_EXPORT_SHARE: Final = 2.0


class PreparationFailed(Exception):
    """The networks cannot be used; the message says why."""


class Prepared(NamedTuple):
    """Networks that agree with torch's; ``decoder`` is None where torch decodes."""

    unet: OpenVinoUNet
    decoder: OpenVinoDecoder | None
    precision: Precision


class Preparation:
    """Of one checkpoint with the LoRAs that are in it now, for one shape.

    ``unet`` and ``decoder`` take the place of torch's networks while the first picture is made, and
    keep a call of each. ``begin`` after that picture.
    """

    def __init__(
        self,
        *,
        checkpoint: Checkpoint,
        shape: Shape,
        precision: Precision,
        files: IrFiles,
        unet: UNetSample,
        decoder: DecoderSample | None,
    ) -> None:
        self.unet = unet
        self.decoder = decoder
        self._path = checkpoint.path
        self._module = checkpoint.unet.module
        self._shape = shape
        self._precision = precision
        self._files = files
        self._changed: Mapping[str, Tensor] = checkpoint.loras.changed(self._module)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._prepared: Prepared | None = None
        self._failure = ""

    def begin(self) -> None:
        """Start the work, once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="openvino", daemon=True)
            self._thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the work that was begun; whether it ended in time."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self._thread is None or not self._thread.is_alive()

    def result(self) -> Prepared | None:
        """The networks; None as long as they are not ready. Raises PreparationFailed."""
        with self._lock:
            if self._failure:
                raise PreparationFailed(self._failure)
            return self._prepared

    def _work(self) -> None:
        if hasattr(os, "setpriority"):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        try:
            with self._files.lock:
                prepared = self._prepare()
        except Exception as error:  # whatever it is, torch makes the pictures
            failure = next(iter(str(error).strip().splitlines()), "")[:200] or type(error).__name__
            expected = isinstance(error, ExportFailed | PreparationFailed | ImportError)
            trace = None if expected else error
            log.warning("OpenVINO is not used for %s: %s", self._path.name, failure, exc_info=trace)
            with self._lock:
                self._failure = failure
        else:
            with self._lock:
                self._prepared = prepared
        finally:
            self._changed = {}  # as large as the network, where LoRAs change all of it

    def _prepare(self) -> Prepared:
        self._check_memory()
        runtime = Runtime(torch.get_num_threads())
        precision = runtime.precision(self._precision)
        folder = self._files.folder_of(self._path, runtime.version)
        unet = compile_unet(runtime, folder, self._module, self._shape, self._changed, precision)
        self._check("network", self.unet.psnr(unet), precision)
        decoder = None
        if self.decoder is not None and self.decoder.was_called and precision == "fast":
            decoder = compile_decoder(runtime, folder, self.decoder.shape, precision)
            self._check("VAE", self.decoder.psnr(decoder), precision)
        log.info("%s is ready on OpenVINO, %s", self._path.name, precision)
        return Prepared(unet, decoder, precision)

    def _check_memory(self) -> None:
        needed = round(module_bytes(self._module) * _EXPORT_SHARE)
        free = memory_bytes() - resident_bytes()
        if needed > free:
            raise PreparationFailed(
                f"it takes {needed / 2**30:.1f} GiB of memory beside the loaded model, and"
                f" {free / 2**30:.1f} are left"
            )

    def _check(self, part: str, found: float, precision: Precision) -> None:
        least = LEAST_PSNR[precision]
        if not found >= least:
            raise PreparationFailed(
                f"its {part} differs from torch's: {found:.0f} dB, at least {least:.0f} are wanted"
            )
