"""An ONNX model in onnxruntime, which is optional. Alone in knowing that package."""

import importlib.util
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import InvalidModelFile, ModelNotInstalled
from pipeline.memory.device import is_out_of_memory

INSTALL: Final = "pip install -r requirements-vision.txt"
_LOAD_FAULTS: Final = (
    "InvalidProtobuf",
    "InvalidGraph",
    "InvalidArgument",
    "Fail",
    "NoModel",
    "NoSuchFile",
    "NotImplemented",
    "RuntimeException",
)
# After a run the arena gives back what no later run is sure to need. Measured on ISNet (88 MB in
# float16, one thread): 2,090 MB stay resident by default, 1,320 without memory patterns, 600 when
# the arena shrinks too, for 6 % more CPU time.
_SHRINK: Final = "memory.enable_memory_arena_shrinkage"


def is_installed() -> bool:
    """Is there an onnxruntime?"""
    return importlib.util.find_spec("onnxruntime") is not None


def check_installed(purpose: str) -> None:
    """Raise ModelNotInstalled if there is no onnxruntime; ``purpose`` is what needs it."""
    if not is_installed():
        raise ModelNotInstalled(f"{purpose} needs the package onnxruntime: {INSTALL}")


class OnnxRuntimeNetwork:
    """A loaded model. Device thread only."""

    def __init__(self, path: Path, kind: str, device: torch.device) -> None:
        """Load it, on the CUDA device where onnxruntime's GPU build is installed.

        Raises ModelNotInstalled, InvalidModelFile.
        """
        check_installed(f"the {kind} {path.name}")
        import onnxruntime  # noqa: PLC0415 - optional
        from onnxruntime.capi import onnxruntime_pybind11_state as faults  # noqa: PLC0415

        self._name = f"{kind} {path.name}"
        self._faults = faults
        providers, shrunk = _providers(onnxruntime, device)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; what is wrong with a model is raised, too
        options.intra_op_num_threads = torch.get_num_threads()
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._run_options = onnxruntime.RunOptions()
        self._run_options.add_run_config_entry(_SHRINK, shrunk)
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=providers)
        except tuple(getattr(faults, name) for name in _LOAD_FAULTS) as error:
            raise InvalidModelFile(
                f"the {self._name} is no ONNX model that onnxruntime {onnxruntime.__version__} can"
                f" run ({_first_line(error)}); download it again"
            ) from error
        given, self._output = self._session.get_inputs()[0], self._session.get_outputs()[0]
        self._input: str = given.name
        self.input_shape: tuple[object, ...] = tuple(given.shape)
        self.output_shape: tuple[object, ...] = tuple(self._output.shape)

    def run(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The model's first output. Raises InvalidModelFile, MemoryError."""
        faults = self._faults
        wanted, given = [self._output.name], {self._input: values}
        try:
            (output,) = self._session.run(wanted, given, self._run_options)
        except (faults.InvalidArgument, faults.RuntimeException, faults.Fail) as error:
            if is_out_of_memory(error):
                raise MemoryError(f"{self._name}: {_first_line(error)}") from error
            raise InvalidModelFile(
                f"the {self._name} is another model than its name says ({_first_line(error)}); put"
                " the published file in its place"
            ) from error
        return np.asarray(output, dtype=np.float32)


def _providers(onnxruntime: Any, device: torch.device) -> tuple[list[Any], str]:
    """Where to run, first choice first, and the arenas that shrink."""
    if device.type != "cuda":
        return ["CPUExecutionProvider"], "cpu:0"
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return ["CPUExecutionProvider"], "cpu:0"
    number = device.index or 0
    cuda = ("CUDAExecutionProvider", {"device_id": number})
    return [cuda, "CPUExecutionProvider"], f"cpu:0;gpu:{number}"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
