"""An ONNX model in OpenCV's dnn module, which every installation has."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InvalidModelFile


class OpenCvNetwork:
    """Holds a model's file, and reads it into a network for each run. Device thread only.

    A network keeps all its layers' results: 268 MB of u2netp's, 1.2 GB of ISNet's. Reading it anew
    costs 0.04 and 0.3 s of 0.7 and 4.5, and leaves 34 MB.
    """

    def __init__(self, path: Path, kind: str) -> None:
        """Raises InvalidModelFile."""
        self._name = f"{kind} {path.name}"
        self._data = np.fromfile(path, np.uint8)
        self._read()
        self.input_shape: tuple[object, ...] = ()  # OpenCV does not tell them before a run
        self.output_shape: tuple[object, ...] = ()

    def run(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The model's first output. Raises InvalidModelFile, MemoryError."""
        network = self._read()
        try:
            network.setInput(values)
            output = network.forward(network.getUnconnectedOutLayersNames()[0])
        except cv2.error as error:
            if error.code == cv2.Error.StsNoMem:
                raise MemoryError(f"{self._name}: {_reason(error)}") from error
            raise InvalidModelFile(
                f"the {self._name} is another model than its name says, or one that only"
                f" onnxruntime can run ({_reason(error)}); put the published file in its place"
            ) from error
        return np.array(output, dtype=np.float32)  # a copy: the result is the network's memory

    def _read(self) -> cv2.dnn.Net:
        try:
            return cv2.dnn.readNetFromONNX(self._data)
        except cv2.error as error:
            raise InvalidModelFile(
                f"the {self._name} is no ONNX model that OpenCV {cv2.__version__} can run"
                f" ({_reason(error)}); download it again, or install onnxruntime"
            ) from error


def _reason(error: cv2.error) -> str:
    """OpenCV's message without its source files."""
    return str(error.err).partition("\n")[0][:200]
