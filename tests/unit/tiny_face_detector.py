"""A face detector of YuNet's inputs and outputs that takes a single red cell for a face."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

CANVAS = 640  # pixels a side of its input
STRIDES = (8, 16, 32)  # pixels a side of a cell, on each of the detector's three levels
STRIDE = 16  # the level at which this one sees faces
LANDMARKS = ((-1.0, -0.5), (1.0, -0.5), (0.0, 0.25), (-0.75, 1.0), (0.75, 1.0))  # in cells
CROWDED = 0.2  # what each red cell beside it takes from a cell's score: larger faces are missed
SIDE = 4.0  # of a face, in cells
BLUE_GROWTH = 0.05  # by e to this power a face is larger for each level of blue in its red


def write_detector(path: Path) -> Path:
    """The model file. A face's landmarks lie at ``LANDMARKS`` from the red cell's corner."""
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    outputs: list[onnx.ValueInfoProto] = []
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, CANVAS, CANVAS])

    def constant(name: str, values: NDArray[Any]) -> str:
        weights.append(numpy_helper.from_array(values, name))
        return name

    for stride in STRIDES:
        pooled = f"pooled_{stride}"
        side = [stride, stride]
        nodes.append(
            helper.make_node("AveragePool", ["input"], [pooled], kernel_shape=side, strides=side)
        )
        gain = 1.0 if stride == STRIDE else 0.0
        boxes = [0.0, 0.0, np.log(SIDE), np.log(SIDE)]
        marks = [number for point in LANDMARKS for number in point]
        red = np.zeros((1, 3, 3, 3))  # blue, green, red; sums to 1 for a red cell, below 0 else
        red[0, :, 1, 1] = np.array([-1 / 64, -1 / 64, 1 / 255])
        around = np.ones((3, 3), bool)
        around[1, 1] = False
        red[0, 1, around], red[0, 2, around] = CROWDED / 255, -CROWDED / 255
        bluer = np.zeros((4, 3, 3, 3))
        bluer[2:, 0, 1, 1] = BLUE_GROWTH
        heads = {
            "cls": (red * gain, [0.0]),
            "obj": (np.zeros((1, 3, 3, 3)), [1.0]),
            "bbox": (bluer, boxes),
            "kps": (np.zeros((10, 3, 3, 3)), marks),
        }
        for head, (kernel, bias) in heads.items():
            name = f"{head}_{stride}"
            inputs = [
                pooled,
                constant(f"{name}.weight", kernel.astype(np.float32)),
                constant(f"{name}.bias", np.array(bias, np.float32)),
            ]
            nodes.append(
                helper.make_node("Conv", inputs, [f"{name}.map"], kernel_shape=[3, 3], pads=[1] * 4)
            )
            nodes.append(
                helper.make_node("Transpose", [f"{name}.map"], [f"{name}.last"], perm=[0, 2, 3, 1])
            )
            shape = constant(f"{name}.shape", np.array([1, -1, len(bias)], np.int64))
            nodes.append(helper.make_node("Reshape", [f"{name}.last", shape], [name]))
            size = [1, (CANVAS // stride) ** 2, len(bias)]
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, size))
    graph = helper.make_graph(nodes, "faces", [given], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path
