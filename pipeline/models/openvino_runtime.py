"""OpenVINO's runtime: networks read from its files (IR) and compiled for this processor.

OpenVINO is optional (requirements-openvino.txt) and takes a second to import, so it is imported at
use. Its Python package reports its use over the network where ``openvino_telemetry`` is installed;
here that module is blocked before the import, so nothing is sent and nothing written home.
"""

import importlib.util
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor

UNET: Final = "unet.xml"  # files of a checkpoint's IR folder
VAE: Final = "vae.xml"

_TELEMETRY: Final = "openvino_telemetry"
_DEVICE: Final = "CPU"
_BF16: Final = "BF16"

Precision = Literal["exact", "fast"]

# Always told: the default depends on the processor.
_HINTS: Final[Mapping[Precision, str]] = {"exact": "f32", "fast": "bf16"}


def is_installed() -> bool:
    """Whether OpenVINO can be imported. Imports nothing."""
    return importlib.util.find_spec("openvino") is not None


def import_openvino() -> Any:
    """The package, without its telemetry. Raises ImportError."""
    if _TELEMETRY not in sys.modules:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # importing it fails from now on
    import openvino  # noqa: PLC0415 - optional, and takes a second

    return openvino


class Runtime:
    """OpenVINO's core with the settings that every network here is compiled with."""

    def __init__(self, threads: int) -> None:
        """Raises ImportError where OpenVINO is not installed."""
        self._openvino = import_openvino()
        self._core = self._openvino.Core()
        self._threads = threads

    @property
    def version(self) -> str:
        """The runtime's version, which an IR is kept for."""
        return str(self._openvino.get_version()).partition("-")[0]

    def precision(self, asked: Precision) -> Precision:
        """What the processor offers: without bfloat16, ``fast`` is ``exact``."""
        able = self._core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
        return asked if asked == "exact" or _BF16 in able else "exact"

    def read(self, path: Path) -> Any:
        """The model of an IR, its weights mapped. Raises RuntimeError."""
        return self._core.read_model(path)

    def compile(
        self, model: Any, shapes: Mapping[str, Sequence[int]], precision: Precision
    ) -> "CompiledNetwork":
        """A model for inputs of these shapes alone; open ones cost a fifth. Raises RuntimeError."""
        model.reshape({name: list(shape) for name, shape in shapes.items()})
        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
            # Pinned, the one thread of every process would be on the same core.
            "ENABLE_CPU_PINNING": False,
        }
        return CompiledNetwork(self._core.compile_model(model, _DEVICE, settings))

    def replace_constants(self, model: Any, values: Mapping[str, Tensor]) -> None:
        """Give constants, by their names, other values. Raises KeyError for a name not there."""
        constants = {
            each.get_friendly_name(): each
            for each in model.get_ops()
            if each.get_type_name() == "Constant"
        }
        for name, value in values.items():
            old = constants[name]
            kind = old.get_output_element_type(0).to_dtype()
            data = value.detach().float().numpy().astype(kind).reshape(old.get_output_shape(0))
            new = self._openvino.op.Constant(data)
            new.set_friendly_name(name)
            for target in old.output(0).get_target_inputs():
                target.replace_source_output(new.output(0))


class CompiledNetwork:
    """A compiled model with one output. A request belongs to one thread, so each has its own: two
    threads on one get each other's results without an error."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._own = threading.local()

    def __call__(self, inputs: Sequence[Tensor]) -> Tensor:
        """The output for float32 inputs on the CPU, in the model's order and shapes."""
        request = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self._compiled.create_infer_request()
        arrays = [each.contiguous().numpy() for each in inputs]
        results = request.infer(arrays, share_inputs=True, share_outputs=True)
        return torch.from_numpy(results[0]).clone()  # the next call writes over it


def drop_inputs(model: Any, first: int) -> None:
    """Take a model's inputs from ``first`` on away, each of which is only ever added to something.

    What it would be added to takes the place of the sum.
    """
    for parameter in model.get_parameters()[first:]:
        for target in parameter.output(0).get_target_inputs():
            addition = target.get_node()
            other = addition.input_value(1 - target.get_index())
            addition.output(0).replace(other)
        model.remove_parameter(parameter)
