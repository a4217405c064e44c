"""ONNX files as networks that are run: in onnxruntime where it is installed, else in OpenCV."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import InvalidModelFile
from pipeline.files.file_format import FileFormat, require_format
from pipeline.vision.onnx_runtime import OnnxRuntimeNetwork, is_installed
from pipeline.vision.opencv_network import OpenCvNetwork
from pipeline.weights.main_memory import resident_bytes

Sides = Sequence[int | None]
"""Sides of an array; None where any will do."""


class Shapes(NamedTuple):
    """What a model of some kind takes and gives."""

    takes: Sides
    gives: Sides


class Network(Protocol):
    """A model with one input. Shapes are () where they are not known before a run."""

    input_shape: tuple[object, ...]
    output_shape: tuple[object, ...]

    def run(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The first output. Raises InvalidModelFile, MemoryError."""


class Session:
    """A loaded ONNX model of a known kind. Device thread only."""

    def __init__(self, network: Network, name: str, held_bytes: int) -> None:
        """``held_bytes`` of memory came with loading it."""
        self._network = network
        self._name = name
        self._held_bytes = held_bytes
        self._run_bytes = 0
        self.input_shape = network.input_shape

    @property
    def size_bytes(self) -> int:
        """Resident memory that it brought, measured: onnxruntime tells of none.

        What other threads allocated meanwhile counts in.
        """
        return self._held_bytes + self._run_bytes

    def first_output(self, values: NDArray[np.float32], gives: Sides) -> NDArray[np.float32]:
        """The model's first output, of the sides ``gives``.

        Raises InvalidModelFile if it takes no such input, or gives something else; MemoryError.
        """
        before = resident_bytes()
        output = self._network.run(values)
        self._run_bytes = max(self._run_bytes, resident_bytes() - before - output.nbytes)
        self.check(Shapes(values.shape, gives), output.shape)
        if not np.isfinite(output).all():
            raise InvalidModelFile(
                f"the {self._name} gives values that are not finite; download it again"
            )
        return output

    def check(self, wanted: Shapes, output_shape: Sequence[object] | None = None) -> None:
        """Raise InvalidModelFile unless the model takes and gives what its kind does."""
        found = self._network.output_shape if output_shape is None else output_shape
        for verb, sides, known in (
            ("takes", wanted.takes, self.input_shape),
            ("gives", wanted.gives, found),
        ):
            if known and not _fits(known, sides):
                raise InvalidModelFile(
                    f"the {self._name} is another model than its name says: it {verb}"
                    f" {_told(known)}, not {_told(sides)}; put the published file in its place"
                )


def open_session(
    path: Path, device: torch.device, kind: str = "model", shapes: Shapes | None = None
) -> Session:
    """Load an ONNX file that serves as ``kind``. Raises InvalidModelFile."""
    require_format(path, kind, FileFormat.ONNX)
    before = resident_bytes()
    network = (
        OnnxRuntimeNetwork(path, kind, device) if is_installed() else OpenCvNetwork(path, kind)
    )
    held = max(resident_bytes() - before, path.stat().st_size)
    session = Session(network, f"{kind} {path.name}", held)
    if shapes is not None:
        session.check(shapes)
    return session


def _fits(found: Sequence[object], wanted: Sides) -> bool:
    """Sides that a model names by a text, or leaves open, may be any."""
    return len(found) == len(wanted) and all(
        side == asked or asked is None or not isinstance(side, int)
        for side, asked in zip(found, wanted, strict=True)
    )


def _told(sides: Sequence[object]) -> str:
    return f"[{', '.join('any' if side is None else str(side) for side in sides)}]"
