"""Masks, outpainting and image prompts on the page that makes images."""

import base64
import io
import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.actions import (
    generate,
    sent,
    stage,
    write,
)
from tests.browser.conftest import give_file, picture_file

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def test_a_mask_is_painted_and_sent_with_the_picture(app: Page, tmp_path: Path) -> None:
    app.goto("/")
    app.get_by_text("Input pictures").click()
    app.get_by_text("Inpaint or outpaint").click()
    app.get_by_label("File for Picture to paint in").set_input_files(picture_file(tmp_path))
    canvas = app.get_by_role("application", name="Mask: paint where the picture shall change")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    app.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2)
    app.mouse.down()
    app.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2, steps=4)
    app.mouse.up()
    with app.expect_request("**/v1/engine/generate/") as request:
        generate(app)
    body = sent(request.value)
    assert body["inpaint_input_image"].startswith("data:image/png;base64,")
    mask = Image.open(io.BytesIO(base64.b64decode(body["inpaint_mask_image_upload"].split(",")[1])))
    assert mask.size == (200, 120)
    grey = mask.convert("L")
    assert grey.getpixel((100, 60)) == 255
    assert grey.getpixel((100, 5)) == 0
    assert grey.getpixel((5, 60)) == 0


@pytest.mark.slow
def test_a_mask_is_painted_with_the_keyboard_alone(app: Page, tmp_path: Path) -> None:
    app.goto("/")
    app.get_by_text("Input pictures").click()
    app.get_by_text("Inpaint or outpaint").click()
    app.get_by_label("File for Picture to paint in").set_input_files(picture_file(tmp_path))
    canvas = app.get_by_role("application", name="Mask: paint where the picture shall change")
    canvas.focus()
    app.keyboard.press("Space")
    app.keyboard.press("Shift+ArrowRight")
    with app.expect_request("**/v1/engine/generate/") as request:
        app.keyboard.press("Control+Enter")
    assert sent(request.value)["inpaint_mask_image_upload"].startswith("data:image/png")


@pytest.mark.slow
def test_a_picture_is_inpainted_and_outpainted_by_the_model(page: Page, tmp_path: Path) -> None:
    page.goto("/")
    write(page, "a red star on a teal background")
    page.get_by_text("Input pictures").click()
    page.get_by_text("Inpaint or outpaint").click()
    page.get_by_label("File for Picture to paint in").set_input_files(picture_file(tmp_path))
    page.get_by_role("application").focus()
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
    page.get_by_role("spinbutton", name="Pixels to add on the right").fill("64")
    generate(page)
    made = stage(page).get_by_role("img", name="a red star on a teal background")
    expect(made).to_be_visible(timeout=90_000)
    width, height = made.evaluate("image => [image.naturalWidth, image.naturalHeight]")
    assert width > height
    stage(page).get_by_role("button", name="Open picture 1").click()
    dialog = page.get_by_role("dialog", name="Picture")
    expect(dialog.get_by_role("row", name="Outpaint distance")).to_contain_text("64")


@pytest.mark.slow
def test_a_model_that_is_not_there_says_so_when_it_should_find_a_mask(
    app: Page, tmp_path: Path
) -> None:
    app.goto("/")
    app.get_by_text("Input pictures").click()
    app.get_by_text("Inpaint or outpaint").click()
    app.get_by_label("File for Picture to paint in").set_input_files(picture_file(tmp_path))
    expect(app.get_by_role("application")).to_be_visible()
    app.get_by_text("Let a model find the mask").click()
    with app.expect_response("**/v1/tools/generate_mask") as response:
        app.get_by_role("button", name="Find the mask").click()
    assert response.value.status in (501, 503)
    expect(app.get_by_role("alert").filter(visible=True)).to_be_visible()


def test_outpainting_edges_are_moved_and_sent(app: Page, tmp_path: Path) -> None:
    app.goto("/")
    app.get_by_text("Input pictures").click()
    app.get_by_text("Inpaint or outpaint").click()
    app.get_by_label("File for Picture to paint in").set_input_files(picture_file(tmp_path))
    edge = app.get_by_role("slider", name="Pixels to add on the right")
    edge.focus()
    app.keyboard.press("ArrowRight")
    app.keyboard.press("ArrowRight")
    expect(app.get_by_role("spinbutton", name="Pixels to add on the right")).to_have_value("64")
    app.get_by_role("checkbox", name="Top").check()
    with app.expect_request("**/v1/engine/generate/") as request:
        generate(app)
    body = sent(request.value)
    assert body["outpaint_selections"] == ["Top", "Right"]
    assert body["outpaint_distance"] == [0, 0, 64, 0]


def test_image_prompts_are_pasted_dropped_and_sent(app: Page, tmp_path: Path) -> None:
    app.goto("/")
    app.get_by_text("Input pictures").click()
    app.get_by_text("Image prompt", exact=True).click()
    give_file(app.locator("body"), "paste", picture_file(tmp_path))
    give_file(app.locator("image-slot:visible").nth(1), "drop", picture_file(tmp_path))
    expect(app.get_by_role("img", name=re.compile("Chosen picture: Image prompt"))).to_have_count(2)
    app.get_by_label("Kind").first.select_option("PyraCanny")
    with app.expect_request("**/v1/engine/generate/") as request:
        generate(app)
    prompt, dropped = sent(request.value)["controlnet_image"]
    assert dropped["cn_img"].startswith("data:image/png")
    assert prompt["cn_type"] == "PyraCanny"
    assert prompt["cn_img"].startswith("data:image/png")


def vary_with(app: Page, picture: Path) -> None:
    app.get_by_text("Input pictures").click()
    app.get_by_text("Vary or upscale", exact=True).click()
    app.get_by_label("File for Picture to vary").set_input_files(picture)
    expect(app.get_by_role("img", name=re.compile("^Chosen picture"))).to_be_visible()


def test_after_a_variation_a_plain_picture_is_made_again(app: Page, tmp_path: Path) -> None:
    app.goto("/")
    vary_with(app, picture_file(tmp_path))
    app.get_by_label("Vary or upscale").last.select_option("Vary (Subtle)")
    with app.expect_response("**/v1/engine/generate/") as response:
        generate(app)
    assert sent(response.value.request)["uov_method"] == "Vary (Subtle)"
    app.get_by_text("None", exact=True).click()
    with app.expect_response("**/v1/engine/generate/") as response:
        generate(app)
    assert response.value.ok
    assert "uov_method" not in sent(response.value.request)
    app.get_by_role("radio", name="Vary or upscale").check(force=True)
    app.get_by_role("button", name="Remove the picture").filter(visible=True).click()
    with app.expect_response("**/v1/engine/generate/") as response:
        generate(app)
    assert response.value.ok


def test_a_reload_keeps_picture_mask_and_sides(app: Page, tmp_path: Path) -> None:
    app.goto("/")
    app.get_by_text("Input pictures").click()
    app.get_by_text("Inpaint or outpaint").click()
    app.get_by_label("File for Picture to paint in").set_input_files(picture_file(tmp_path))
    app.get_by_role("application").focus()
    app.keyboard.press("Space")
    app.get_by_role("spinbutton", name="Pixels to add on the right").fill("64")
    with app.expect_request("**/v1/engine/generate/") as request:
        generate(app)
    before = sent(request.value)
    assert before["inpaint_mask_image_upload"].startswith("data:image/png")
    expect(stage(app).get_by_text("Finished")).to_be_visible()  # by then the draft is on disk
    app.reload()
    with app.expect_request("**/v1/engine/generate/") as request:
        generate(app)
    assert sent(request.value) == before
    app.get_by_text("Input pictures").click()
    expect(app.get_by_role("application")).to_be_visible()
    expect(app.get_by_role("spinbutton", name="Pixels to add on the right")).to_have_value("64")


def test_going_back_to_the_preset_can_be_taken_back(app: Page, tmp_path: Path) -> None:
    app.goto("/")
    write(app, "a cat that stays")
    vary_with(app, picture_file(tmp_path))
    app.get_by_role("button", name="Back to the preset's values").click()
    expect(app.get_by_label("Prompt", exact=True)).to_have_value("a cat that stays")
    with app.expect_request("**/v1/engine/generate/") as request:
        generate(app)
    assert sent(request.value) == {"prompt": "a cat that stays", "async_process": True}
    app.get_by_role("button", name="Undo").click()
    with app.expect_request("**/v1/engine/generate/") as request:
        generate(app)
    assert sent(request.value)["uov_input_image"].startswith("data:image/png")
