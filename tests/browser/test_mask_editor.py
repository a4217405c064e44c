"""Painting a mask: large, near, taken back and done again; what painting in is for."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.browser.actions import generate, sent
from tests.browser.conftest import picture_file

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


@pytest.fixture
def canvas(app: Page, tmp_path: Path) -> Locator:
    app.goto("/")
    app.get_by_text("Input pictures").click()
    app.get_by_text("Inpaint or outpaint", exact=True).first.click()
    app.get_by_label("File for Picture to paint in").set_input_files(picture_file(tmp_path))
    found = app.get_by_role("application", name="Mask: paint where the picture shall change")
    found.scroll_into_view_if_needed()
    return found


def stroke(app: Page, canvas: Locator, y: float) -> None:
    """From the left third to the right one, at ``y`` of the height."""
    box = canvas.bounding_box()
    assert box is not None
    app.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * y)
    app.mouse.down()
    app.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * y, steps=4)
    app.mouse.up()


@pytest.fixture
def mask(app: Page) -> Callable[[], Image.Image]:
    def send() -> Image.Image:
        with app.expect_request("**/v1/engine/generate/") as request:
            generate(app)
        text = sent(request.value)["inpaint_mask_image_upload"]
        return Image.open(io.BytesIO(base64.b64decode(text.split(",")[1]))).convert("L")

    return send


def test_strokes_are_undone_and_redone_with_keys_and_buttons(
    app: Page, canvas: Locator, mask: Callable[[], Image.Image]
) -> None:
    app.get_by_role("slider", name="Brush size").fill("20")
    stroke(app, canvas, 0.25)
    stroke(app, canvas, 0.75)
    app.keyboard.press("Control+z")
    picture = mask()
    assert (picture.getpixel((100, 30)), picture.getpixel((100, 90))) == (255, 0)
    app.get_by_role("button", name="Redo the stroke").click()
    assert mask().getpixel((100, 90)) == 255
    app.get_by_role("button", name="Undo the last stroke").click()
    canvas.focus()
    app.keyboard.press("Control+Shift+Z")
    app.keyboard.press("i")
    picture = mask()
    assert (picture.getpixel((100, 30)), picture.getpixel((100, 60))) == (0, 255)


def test_the_large_editor_zooms_and_returns_with_what_was_painted(
    app: Page, canvas: Locator, mask: Callable[[], Image.Image]
) -> None:
    small = canvas.bounding_box()
    app.get_by_role("button", name="Paint the mask large").click()
    dialog = app.get_by_role("dialog", name="Paint the mask large")
    expect(dialog).to_be_visible()
    large = canvas.bounding_box()
    assert small is not None
    assert large is not None
    assert large["width"] > 2 * small["width"]
    assert large["height"] < 800
    app.keyboard.press("+")
    near = canvas.bounding_box()
    assert near is not None
    assert near["width"] == pytest.approx(1.5 * large["width"], abs=4)
    app.keyboard.press("0")
    for _ in range(5):
        app.keyboard.press("[")
    stroke(app, canvas, 0.5)
    app.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(canvas).to_be_visible()
    picture = mask()
    assert picture.size == (200, 120)
    assert picture.getpixel((100, 60)) == 255
    assert picture.getpixel((100, 10)) == 0


def test_fooocus_ways_of_painting_in_are_one_choice(app: Page, canvas: Locator) -> None:
    way = app.get_by_label("What to do where it is painted")
    expect(way).to_have_value("fill")
    way.select_option("improve")
    stroke(app, canvas, 0.5)
    with app.expect_request("**/v1/engine/generate/") as request:
        generate(app)
    body = sent(request.value)
    names = ("inpaint_engine", "inpaint_strength", "inpaint_respective_field")
    assert [body[name] for name in names] == ["None", 0.5, 0]
    assert body["inpaint_disable_initial_latent"] is False
    app.get_by_text("Own settings of painting in").click()
    app.get_by_label("Inpaint strength").fill("0.7")
    expect(way).to_have_value("own")
    app.reload()
    app.get_by_text("Input pictures").click()
    expect(app.get_by_label("What to do where it is painted")).to_have_value("own")


def test_another_way_of_painting_in_leaves_the_strokes_to_be_undone(
    app: Page, canvas: Locator, mask: Callable[[], Image.Image]
) -> None:
    app.get_by_role("slider", name="Brush size").fill("20")
    stroke(app, canvas, 0.25)
    stroke(app, canvas, 0.75)
    app.get_by_label("What to do where it is painted").select_option("improve")
    app.get_by_role("button", name="Undo the last stroke").click()
    picture = mask()
    assert (picture.getpixel((100, 30)), picture.getpixel((100, 90))) == (255, 0)


def test_a_mask_is_asked_for_in_words(app: Page, canvas: Locator) -> None:
    expect(canvas).to_be_visible()
    app.get_by_label("Mask what is named").fill("a face")
    with app.expect_request("**/v1/tools/generate_mask") as request:
        app.keyboard.press("Enter")
    body = sent(request.value)
    assert (body["mask_model"], body["dino_prompt_text"]) == ("sam", "a face")
