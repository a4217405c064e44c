"""One picture opened: its parameters, and what can be done with it."""

import base64
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.actions import cards, open_picture, search, visit
from tests.browser.conftest import give_file, opened_page, picture_file
from tools.server_process import ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def test_parameters_of_a_picture_are_used_again(app: Page, queue: Callable[..., str]) -> None:
    queue("made twice", image_seed=2**62 + 1, guidance_scale=3.5, image_number=2)
    visit(app, "gallery")
    search(app, "made twice")
    expect(cards(app)).to_have_count(1)
    cards(app).click()
    dialog = app.get_by_role("dialog", name="Picture")
    dialog.get_by_role("button", name="Use these parameters").click()
    expect(app.get_by_label("Prompt", exact=True)).to_have_value("made twice")
    expect(app.get_by_label("Seed", exact=True)).to_have_value(str(2**62 + 1))
    expect(app.get_by_label("Images")).to_have_value("2")
    app.get_by_role("button", name="Generate").click()
    stage = app.get_by_role("region", name="Result")
    expect(stage.get_by_role("img", name="made twice")).to_have_count(2)
    app.get_by_role("link", name="Gallery").click()
    expect(cards(app)).to_have_count(2)


def test_a_favourite_is_marked_in_one_window_and_found_in_another(
    app: Page, browser: Browser, painted: ServerProcess, queue: Callable[..., str]
) -> None:
    with opened_page(browser, painted.url) as other:
        visit(other, "gallery")
        other.get_by_label("Favourites").check()
        search(other, "beloved")
        dialog = open_picture(app, "beloved", queue)
        star = dialog.get_by_role("button", name="Favourite")
        star.click()
        expect(star).to_have_attribute("aria-pressed", "true")  # else the key would mark it again
        expect(cards(other)).to_have_count(1)
        app.keyboard.press("f")
        expect(cards(other)).to_have_count(0)


def test_a_deleted_picture_comes_back_with_undo(app: Page, queue: Callable[..., str]) -> None:
    dialog = open_picture(app, "deleted by mistake", queue)
    dialog.get_by_role("button", name="Delete").click()
    expect(cards(app)).to_have_count(0)
    app.get_by_role("button", name="Undo").click()
    expect(cards(app)).to_have_count(1)


def test_a_picture_is_downloaded_with_and_without_its_parameters(
    app: Page, queue: Callable[..., str]
) -> None:
    dialog = open_picture(app, "to take home", queue)
    whole, bare = [
        app.request.get(str(dialog.get_by_role("link", name=name).get_attribute("href"))).body()
        for name in ("Download", "Without parameters")
    ]
    assert b"to take home" in whole
    assert b"to take home" not in bare
    assert bare.startswith(b"\x89PNG")


def test_a_picture_is_used_as_input(app: Page, queue: Callable[..., str]) -> None:
    dialog = open_picture(app, "to be varied", queue)
    dialog.get_by_label("Use as input").select_option("Vary or upscale")
    chosen = app.get_by_role("img", name="Chosen picture: Picture to vary or upscale")
    expect(chosen).to_be_visible()
    with app.expect_request("**/v1/engine/generate/") as request:
        app.get_by_role("button", name="Generate").click()
    body = request.value.post_data_json or {}
    assert body["uov_input_image"].startswith("/outputs/")
    assert body["uov_method"] == "Vary (Subtle)"


def test_parameters_that_are_used_make_the_same_request_again(
    app: Page, painted: ServerProcess, queue: Callable[..., str], tmp_path: Path
) -> None:
    image = (
        "data:image/png;base64," + base64.b64encode(picture_file(tmp_path).read_bytes()).decode()
    )
    canny = {"cn_img": image, "cn_type": "PyraCanny", "cn_stop": 0.8, "cn_weight": 1.3}
    ways: dict[str, Any] = {
        "inpaint_input_image": image,
        "outpaint_selections": ["Left", "Top"],
        "outpaint_distance": [64, 0, 0, 0],
        "inpaint_engine": "None",
        "controlnet_image": [canny],
        "mixing_image_prompt_and_inpaint": True,
    }
    dialog = open_picture(app, "the very same", partial(queue, **ways))
    before = painted.get("/v1/history?search=the+very+same")["items"][0]["task_id"]
    dialog.get_by_role("button", name="Use these parameters").click()
    expect(app.get_by_role("spinbutton", name="Stop at").first).to_have_value("0.8")
    with app.expect_response("**/v1/engine/generate/") as response:
        app.get_by_role("button", name="Generate").click()
    again = response.value.json()["task_id"]
    expect(app.get_by_role("region", name="Result").get_by_text("Finished")).to_be_visible()
    first, second = (painted.get(f"/tasks/{task_id}")["req_params"] for task_id in (before, again))
    assert first == second


@pytest.mark.slow
def test_a_picture_of_the_gallery_is_painted_in(app: Page, queue: Callable[..., str]) -> None:
    dialog = open_picture(app, "to be painted in", queue)
    dialog.get_by_label("Use as input").select_option("Inpaint or outpaint")
    app.get_by_role("application").focus()
    app.keyboard.press("Space")
    with app.expect_request("**/v1/engine/generate/") as request:
        app.get_by_role("button", name="Generate").click()
    body = request.value.post_data_json or {}
    assert body["inpaint_input_image"].startswith("/outputs/")
    assert body["inpaint_mask_image_upload"].startswith("data:image/png")


@pytest.mark.slow
def test_two_pictures_are_compared_side_by_side(app: Page, queue: Callable[..., str]) -> None:
    queue("pair of boats", guidance_scale=2)
    queue("pair of boats", guidance_scale=9)
    visit(app, "gallery")
    search(app, "pair of boats")
    expect(cards(app)).to_have_count(2)
    cards(app).nth(0).click(modifiers=["Control"])
    expect(app.get_by_role("group", name="Selected cards")).to_be_visible()
    cards(app).nth(1).click(modifiers=["Control"])
    app.get_by_role("button", name="Compare").click()
    dialog = app.get_by_role("dialog", name="Compare")
    expect(dialog.get_by_role("img", name="pair of boats")).to_have_count(2)
    expect(dialog.get_by_role("row", name="Guidance scale 9 2")).to_be_visible()


def test_the_parameters_of_any_picture_are_read(app: Page, tmp_path: Path) -> None:
    visit(app, "gallery")
    path = picture_file(tmp_path, prompt="from elsewhere")
    app.get_by_label("Read a picture's parameters").set_input_files(path)
    dialog = app.get_by_role("dialog", name="What the picture says")
    expect(dialog).to_contain_text("from elsewhere")
    dialog.get_by_role("button", name="Use these parameters").click()
    expect(app.get_by_label("Prompt", exact=True)).to_have_value("from elsewhere")
    expect(app.get_by_label("Seed", exact=True)).to_have_value(str(2**63 - 1))


@pytest.mark.slow
def test_a_picture_dropped_onto_the_gallery_is_read(app: Page, tmp_path: Path) -> None:
    visit(app, "gallery")
    expect(cards(app).first).to_be_visible()
    give_file(cards(app).first, "drop", picture_file(tmp_path, prompt="dropped from the desk"))
    dialog = app.get_by_role("dialog", name="What the picture says")
    expect(dialog).to_contain_text("dropped from the desk")


@pytest.mark.slow
def test_a_prompt_is_copied(app: Page, queue: Callable[..., str]) -> None:
    app.context.grant_permissions(["clipboard-read", "clipboard-write"])
    dialog = open_picture(app, "to be copied", queue)
    dialog.get_by_role("button", name="Copy prompt").click()
    expect(dialog.get_by_role("status").filter(has_text="Copied")).to_be_visible()
    assert app.evaluate("navigator.clipboard.readText()") == "to be copied"
