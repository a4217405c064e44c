"""ONNX files to sessions that run them. Alone in knowing onnxruntime, which is optional."""

import importlib.util
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import InvalidModelFile, ModelNotInstalled
from pipeline.memory.device import is_out_of_memory

INSTALL: Final = "pip install -r requirements-vision.txt"


class Session:
    """A loaded ONNX model with one input. Device thread only."""

    def __init__(self, session: Any, name: str) -> None:
        self._session = session
        self._name = name
        first = session.get_inputs()[0]
        self._input: str = first.name
        self.input_shape: tuple[object, ...] = tuple(first.shape)
        """Sides of the input; a text or None where the model takes any."""

    def first_output(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The model's first output.

        Raises InvalidModelFile if it takes no such input, MemoryError.
        """
        from onnxruntime.capi import onnxruntime_pybind11_state as faults  # noqa: PLC0415

        try:
            (output, *_) = self._session.run(None, {self._input: values})
        except (faults.InvalidArgument, faults.RuntimeException, faults.Fail) as error:
            if is_out_of_memory(error):
                raise MemoryError(f"{self._name}: {_first_line(error)}") from error
            raise InvalidModelFile(
                f"{self._name} is another model than its name says ({_first_line(error)})"
            ) from error
        return np.asarray(output, dtype=np.float32)


def check_installed(purpose: str) -> None:
    """Raise ModelNotInstalled if there is no onnxruntime; ``purpose`` is what wants it."""
    if importlib.util.find_spec("onnxruntime") is None:
        raise ModelNotInstalled(f"{purpose} needs the package onnxruntime: {INSTALL}")


def open_session(path: Path, device: torch.device) -> Session:
    """Load an ONNX file, on the CUDA device where onnxruntime's GPU build is installed.

    Raises ModelNotInstalled without onnxruntime, InvalidModelFile.
    """
    check_installed(path.name)
    import onnxruntime  # noqa: PLC0415 - optional
    from onnxruntime.capi import onnxruntime_pybind11_state as faults  # noqa: PLC0415

    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; what is wrong with a model is raised, too
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(path, options, providers=providers)
    except _load_faults(faults) as error:
        raise InvalidModelFile(f"{path.name} is no ONNX model ({_first_line(error)})") from error
    return Session(session, path.name)


def _load_faults(faults: Any) -> tuple[type[Exception], ...]:
    names = ("InvalidProtobuf", "InvalidGraph", "InvalidArgument", "Fail", "NoModel", "NoSuchFile")
    more = ("NotImplemented", "RuntimeException")
    return tuple(getattr(faults, name) for name in (*names, *more))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
