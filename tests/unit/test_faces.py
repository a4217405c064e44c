"""Faces: found through OpenCV, the largest one cut out upright; without one the whole picture.

The detector of these tests has YuNet's inputs and outputs but takes lone red cells for faces.
"""

import cmath
import itertools
from collections.abc import Iterable
from pathlib import Path

import onnx
import pytest
from PIL import Image, ImageDraw

from pipeline.errors import InvalidModelFile
from pipeline.images.faces import (
    UPRIGHT,
    FaceDetector,
    Point,
    align_face,
    crop_face,
    face_of,
    similarity,
    similarity_inverse,
)
from tests.integration.tiny_vision import save_background
from tests.unit.tiny_face_detector import CANVAS, LANDMARKS, SIDE, STRIDE, write_detector

GREY, RED, WHITE = (90, 90, 90), (255, 0, 0), (255, 255, 255)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> FaceDetector:
    return FaceDetector(write_detector(tmp_path_factory.mktemp("faces") / "detector.onnx"))


def picture(size: tuple[int, int], *corners: Point, cell: int = STRIDE) -> Image.Image:
    """A grey picture with a red cell at each corner."""
    image = Image.new("RGB", size, GREY)
    for x, y in corners:
        image.paste(RED, (int(x), int(y), int(x) + cell, int(y) + cell))
    return image


def marks_of(corner: Point, cell: int = STRIDE) -> list[Point]:
    return [(corner[0] + x * cell, corner[1] + y * cell) for x, y in LANDMARKS]


def flat(points: Iterable[Point]) -> list[float]:
    return [number for point in points for number in point]


def moved(turn: complex, shift: complex) -> list[Point]:
    """The upright landmarks turned, scaled and moved."""
    points = [complex(*point) * turn + shift for point in UPRIGHT]
    return [(point.real, point.imag) for point in points]


def dots(size: tuple[int, int], points: list[Point], radius: float) -> Image.Image:
    """White dots on grey."""
    image = Image.new("RGB", size, GREY)
    pen = ImageDraw.Draw(image)
    for x, y in points:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=WHITE)
    return image


def centre_of_light(image: Image.Image, around: Point, reach: int = 25) -> Point:
    """Where the light of the brighter pixels near a point lies."""
    left, top = round(around[0]) - reach, round(around[1]) - reach
    part = image.convert("L").crop((left, top, left + 2 * reach, top + 2 * reach))
    pixels = part.load()
    assert pixels is not None
    lit = [
        (x, y)
        for x, y in itertools.product(range(2 * reach), repeat=2)
        if pixels[x, y] > 170  # type: ignore[operator]
    ]
    assert lit
    across, down = (sum(numbers) / len(lit) for numbers in zip(*lit, strict=True))
    return left + across + 0.5, top + down + 0.5


def test_a_row_of_the_detector_is_read_as_opencv_documents_it() -> None:
    row = [10, 20, 30, 40, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 0.9]
    face = face_of(row, (2.0, 3.0))
    assert (face.width, face.height, face.score) == (60, 120, 0.9)
    assert face.landmarks == ((2, 6), (6, 12), (10, 18), (14, 24), (18, 33))


@pytest.mark.parametrize("degrees", [0, 30, -75, 180])
@pytest.mark.parametrize("scale", [0.2, 1.0, 3.7])
def test_a_similarity_is_found_and_undone(degrees: float, scale: float) -> None:
    turn, shift = cmath.rect(scale, cmath.pi * degrees / 180), complex(40, -7)
    points = [complex(*point) for point in UPRIGHT]
    factor, found = similarity(points, [turn * point + shift for point in points])
    assert factor == pytest.approx(turn)
    assert found == pytest.approx(shift)
    back, there = similarity_inverse(factor, found)
    assert back * (factor * points[2] + found) + there == pytest.approx(points[2])


def test_the_nearest_similarity_of_points_that_fit_none_cannot_be_bettered() -> None:
    points = [0j, 1 + 0j, 1 + 1j, 2j, 3 + 1j]
    wanted = [1j, 2 + 0j, 1 + 3j, -2j, 4 + 4j]

    def error(factor: complex, shift: complex) -> float:
        pairs = zip(points, wanted, strict=True)
        return sum(abs(factor * a + shift - b) ** 2 for a, b in pairs)

    factor, shift = similarity(points, wanted)
    for step in (0.01, -0.01, 0.01j, -0.01j):
        assert error(factor + step, shift) > error(factor, shift)
        assert error(factor, shift + step) > error(factor, shift)


@pytest.mark.parametrize("degrees", [0, 25, -40])
@pytest.mark.parametrize("scale", [0.4, 1.0, 2.6])  # of the face in its picture to the square
def test_the_face_stands_upright_in_its_square(degrees: float, scale: float) -> None:
    turn = cmath.rect(scale, cmath.pi * degrees / 180)
    shift = complex(700, 600) - turn * complex(256, 256)
    points = moved(turn, shift)
    square = align_face(dots((1400, 1200), points, 8 * scale), points)
    assert square.size == (512, 512)
    for expected in UPRIGHT:
        assert centre_of_light(square, expected) == pytest.approx(expected, abs=1.0)


def test_a_large_face_is_shrunk_without_jagged_edges() -> None:
    """Stripes too fine for the square come out as their mean, not as a pattern."""
    image = Image.new("RGB", (2048, 2048), (0, 0, 0))
    for left in range(0, 2048, 4):
        image.paste(WHITE, (left, 0, left + 2, 2048))
    square = align_face(image, moved(4 + 0j, 0j)).crop((4, 4, 508, 508))  # edges see an end
    levels = square.convert("L").tobytes()
    assert max(levels) - min(levels) < 16


def test_what_lies_outside_the_picture_is_a_neutral_colour() -> None:
    square = align_face(picture((100, 100)), moved(0.5 + 0j, -150 - 150j))
    assert square.getpixel((5, 5)) == (123, 117, 104)


def test_a_face_is_found_where_it_is(detector: FaceDetector) -> None:
    (face,) = detector.faces(picture((320, 200), (96, 64)))
    assert flat(face.landmarks) == pytest.approx(flat(marks_of((96, 64))))
    assert face.width == face.height == pytest.approx(SIDE * STRIDE)
    assert face.score > 0.9


def test_a_face_in_a_large_picture_is_told_in_that_pictures_pixels(detector: FaceDetector) -> None:
    cell = 2 * STRIDE  # the detector is shown half the size
    (face,) = detector.faces(picture((1280, 640), (320, 192), cell=cell))
    assert flat(face.landmarks) == pytest.approx(flat(marks_of((320, 192), cell)), abs=1.0)
    assert face.width == pytest.approx(SIDE * cell, rel=0.1)  # resizing tints the red


def test_a_face_too_large_for_the_first_look_is_found_by_a_second(detector: FaceDetector) -> None:
    cell = 2 * STRIDE
    (face,) = detector.faces(picture((640, 640), (96, 96), cell=cell))
    assert face.width == pytest.approx(SIDE * cell, rel=0.1)  # resizing tints the red
    assert flat(face.landmarks) == pytest.approx(flat(marks_of((96, 96), cell)), abs=1.0)
    assert detector.faces(picture((320, 320), (96, 96), cell=cell)) == []  # not shown any smaller


@pytest.mark.parametrize("larger", [0, 1])
def test_the_largest_of_several_faces_is_taken(larger: int, detector: FaceDetector) -> None:
    corners: tuple[Point, ...] = ((96, 96), (400, 320))
    image = picture((640, 480), *corners)
    left, top = (int(side) for side in corners[larger])
    image.paste((255, 0, 8), (left, top, left + STRIDE, top + STRIDE))
    faces = detector.faces(image)
    assert [round(face.width) for face in faces] == [95, 64]
    expected = align_face(image, marks_of(corners[larger]))
    assert crop_face(image, detector).image.tobytes() == expected.tobytes()


def test_the_crop_says_that_a_face_was_found(detector: FaceDetector) -> None:
    image = picture((320, 200), (96, 64))
    crop = crop_face(image, detector)
    assert crop.found
    assert crop.image.size == (512, 512)
    assert crop.image.tobytes() == align_face(image, marks_of((96, 64))).tobytes()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_without_a_face_the_whole_picture_is_used_and_told(
    mode: str, detector: FaceDetector
) -> None:
    image = picture((320, 200)).convert(mode)
    crop = crop_face(image, detector)
    assert not crop.found
    assert crop.image is image


def test_a_file_that_is_no_detector_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "face.onnx"
    for write in (lambda: None, lambda: path.write_bytes(b""), lambda: path.write_bytes(b"<html>")):
        write()
        with pytest.raises(InvalidModelFile, match=r"the face detector face\.onnx"):
            FaceDetector(path)


def test_a_network_of_another_kind_is_refused_by_what_it_gives(tmp_path: Path) -> None:
    path = save_background(tmp_path / "face.onnx", CANVAS)
    with pytest.raises(
        InvalidModelFile, match=r"face\.onnx is no face detector.*put OpenCV's YuNet"
    ):
        FaceDetector(path)


@pytest.mark.parametrize("missing", ["kps_16", "cls_8"])
def test_a_detector_without_one_of_its_outputs_is_refused(tmp_path: Path, missing: str) -> None:
    path = write_detector(tmp_path / "face.onnx")
    model = onnx.load(path)
    for node in model.graph.node:
        node.output[:] = ["other" if name == missing else name for name in node.output]
    for output in model.graph.output:
        output.name = "other" if output.name == missing else output.name
    onnx.save(model, path)
    with pytest.raises(InvalidModelFile, match=r"face\.onnx is no face detector"):
        FaceDetector(path)
