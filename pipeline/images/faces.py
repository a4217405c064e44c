"""The face of a picture, upright in a square of its own. Knows no model but the detector's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
from PIL import Image

from pipeline.errors import InvalidModelFile
from pipeline.files.file_format import FileFormat, require_format

FACE_SIZE: Final = 512

# Where the FFHQ data set (arXiv:1812.04948) has eyes, nose tip and corners of the mouth in a square
# of 512, in facexlib's figures; left and right are the viewer's.
UPRIGHT: Final = (
    (192.98138, 239.94708),
    (318.90277, 240.1936),
    (256.63416, 314.01935),
    (201.26117, 371.41043),
    (313.08905, 371.15118),
)

# The detector's own input, a square that the picture need not fill, and the long sides to which
# pictures are brought in it: it knows faces of about 10 to 300 pixels.
_CANVAS: Final = 640
_DETECTION_SIDES: Final = (_CANVAS, _CANVAS // 2)
_MIN_SCORE: Final = 0.7
_OVERLAP: Final = 0.3  # of two boxes that share more, the better one is kept
# A score, an objectness, a box and five landmarks of each cell, at three sizes of cell.
_OUTPUTS: Final = {f"{kind}_{n}" for kind in ("cls", "obj", "bbox", "kps") for n in (8, 16, 32)}
_OUTSIDE: Final = (123, 117, 104)  # CLIP's mean colour, which an image encoder sees as nothing

Point = tuple[float, float]


class Face(NamedTuple):
    """A face in pixels of its picture. ``landmarks`` come in the order of ``UPRIGHT``."""

    width: float
    height: float
    landmarks: tuple[Point, ...]
    score: float


class FaceCrop(NamedTuple):
    """``image`` is the whole picture where no face was found."""

    image: Image.Image
    found: bool


class FaceDetector:
    """OpenCV's YuNet (Wu et al. 2023, doi:10.1007/s11633-023-1423-y). Device thread only."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidModelFile, also for a network with other outputs than a face detector's."""
        require_format(path, "face detector", FileFormat.ONNX)
        weights = np.fromfile(path, np.uint8)
        try:
            names = cv2.dnn.readNetFromONNX(weights).getUnconnectedOutLayersNames()
            self._net = cv2.FaceDetectorYN.create(
                "onnx",
                weights,
                np.empty(0, np.uint8),
                (_CANVAS, _CANVAS),
                score_threshold=_MIN_SCORE,
                nms_threshold=_OVERLAP,
            )
            self._net.detect(np.zeros((_CANVAS, _CANVAS, 3), np.uint8))  # fails for other shapes
        except cv2.error as error:
            reason = str(error.err).partition("\n")[0][:200]
            raise _no_detector(path, reason) from error
        if missing := sorted(_OUTPUTS - set(names)):
            raise _no_detector(path, f"it has no output {missing[0]}")

    def faces(self, image: Image.Image) -> list[Face]:
        """The faces of a picture, the largest first."""
        for side in _DETECTION_SIDES:
            if faces := self._faces_at(image, min(1.0, side / max(image.size))):
                return sorted(faces, key=lambda face: -face.width * face.height)
        return []

    def _faces_at(self, image: Image.Image, scale: float) -> list[Face]:
        sized = _scaled(image.convert("RGB"), scale)
        canvas = Image.new("RGB", (_CANVAS, _CANVAS))
        canvas.paste(sized)
        _, rows = self._net.detect(np.asarray(canvas)[:, :, ::-1].copy())  # in OpenCV's BGR
        back = (image.width / sized.width, image.height / sized.height)
        return [] if rows is None else [face_of(row.tolist(), back) for row in rows]


def _no_detector(path: Path, reason: str) -> InvalidModelFile:
    return InvalidModelFile(
        f"{path.name} is no face detector that OpenCV {cv2.__version__} can use ({reason}); put"
        f" OpenCV's YuNet in its place"
    )


def face_of(row: Sequence[float], scale: Point = (1.0, 1.0)) -> Face:
    """A face from the detector's 15 numbers: box, five landmarks, score; enlarged by ``scale``.

    The box is (left, top, width, height), a landmark (x, y).
    """
    across, down = scale
    points = zip(row[4:14:2], row[5:14:2], strict=True)
    return Face(
        width=row[2] * across,
        height=row[3] * down,
        landmarks=tuple((x * across, y * down) for x, y in points),
        score=row[14],
    )


def crop_face(image: Image.Image, detector: FaceDetector) -> FaceCrop:
    """The largest face, upright in a square of 512; the whole picture where there is none."""
    faces = detector.faces(image)
    if not faces:
        return FaceCrop(image, found=False)
    return FaceCrop(align_face(image, faces[0].landmarks), found=True)


def align_face(
    image: Image.Image, landmarks: Sequence[Point], size: int = FACE_SIZE
) -> Image.Image:
    """The square in which ``landmarks`` lie as near as can be to ``UPRIGHT``.

    The picture is turned, scaled and moved for that, never mirrored or slanted.
    """
    wanted = [complex(x, y) * size / 512 for x, y in UPRIGHT]
    factor, _ = similarity([complex(*point) for point in landmarks], wanted)
    sized = _scaled(image.convert("RGB"), min(1.0, abs(factor)))  # shrinking needs a wider filter
    across, down = sized.width / image.width, sized.height / image.height
    there = [complex(x * across, y * down) for x, y in landmarks]
    back, shift = similarity_inverse(*similarity(there, wanted))
    affine = (back.real, -back.imag, shift.real, back.imag, back.real, shift.imag)
    return sized.transform(
        (size, size),
        Image.Transform.AFFINE,
        affine,
        Image.Resampling.BICUBIC,
        fillcolor=_OUTSIDE,
    )


def similarity(points: Sequence[complex], wanted: Sequence[complex]) -> tuple[complex, complex]:
    """(factor, shift) for which factor * point + shift is nearest to ``wanted``, in least squares.

    A complex factor turns and scales the plane (Umeyama 1991, doi:10.1109/34.88573, in two
    dimensions and without mirroring).
    """
    middle, goal = sum(points) / len(points), sum(wanted) / len(wanted)
    spread = sum(abs(point - middle) ** 2 for point in points)
    turned = sum(
        (point - middle).conjugate() * (other - goal)
        for point, other in zip(points, wanted, strict=True)
    )
    factor = turned / spread
    return factor, goal - factor * middle


def similarity_inverse(factor: complex, shift: complex) -> tuple[complex, complex]:
    """The similarity that undoes another."""
    return 1 / factor, -shift / factor


def _scaled(image: Image.Image, scale: float) -> Image.Image:
    if scale == 1.0:
        return image
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)
