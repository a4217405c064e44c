"""What can be done with a picture at once, and the signs that it is being made."""

import re
from urllib.parse import unquote

import pytest
from playwright.sync_api import Page, expect

from tests.browser.actions import generate, sent, stage, write

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def make_picture(app: Page, prompt: str, count: int = 1) -> None:
    app.goto("/")
    write(app, prompt)
    app.get_by_label("Images").fill(str(count))
    generate(app)
    expect(stage(app).get_by_text("Finished")).to_be_visible()


def test_a_fresh_picture_is_varied_and_upscaled_by_a_button(app: Page) -> None:
    make_picture(app, "varied at once")
    expect(stage(app).get_by_text(re.compile(r"made in \d"))).to_be_visible()
    tools = app.get_by_role("toolbar", name="What to do with the picture")
    tools.get_by_role("button", name="Vary").click()
    expect(app.get_by_role("img", name=re.compile("^Chosen picture"))).to_be_in_viewport()
    with app.expect_request("**/v1/engine/generate/") as request:
        generate(app)
    body = sent(request.value)
    assert body["uov_method"] == "Vary (Subtle)"
    assert body["uov_input_image"].startswith("/outputs/")
    expect(stage(app).get_by_text("Finished")).to_be_visible()
    tools.get_by_role("button", name="Upscale").click()
    with app.expect_request("**/v1/engine/generate/") as request:
        generate(app)
    body = sent(request.value)
    assert body["uov_method"] == "Upscale (2x)"


def test_the_buttons_act_on_the_chosen_picture_of_a_batch(app: Page) -> None:
    make_picture(app, "two at once", 2)
    tools = app.get_by_role("toolbar", name="What to do with the picture")
    tools.get_by_role("button", name="Keep this picture's seed").click()
    first = app.get_by_label("Seed", exact=True).input_value()
    tools.get_by_role("button", name="Picture 2").click()
    tools.get_by_role("button", name="Keep this picture's seed").click()
    second = app.get_by_label("Seed", exact=True).input_value()
    assert int(second) == int(first) + 1
    with app.expect_download() as download:
        tools.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename.endswith(".png")
    star = tools.get_by_role("button", name="Favourite")
    star.click()
    expect(star).to_have_attribute("aria-pressed", "true")
    app.get_by_role("link", name="Gallery").click()
    app.get_by_label("Favourites").check()
    expect(app.get_by_role("button", name=re.compile("two at once"))).to_have_count(1)


def test_a_result_is_dragged_onto_an_input(app: Page) -> None:
    make_picture(app, "dragged")
    app.get_by_text("Input pictures").click()
    app.get_by_text("Image prompt", exact=True).first.click()
    app.evaluate(
        """() => {
          const data = new DataTransfer();
          const options = {bubbles: true, cancelable: true, dataTransfer: data};
          document.querySelector(".result").dispatchEvent(new DragEvent("dragstart", options));
          const places = [...document.querySelectorAll("image-slot")];
          const place = places.find((slot) => slot.name === "Image prompt 2");
          place.dispatchEvent(new DragEvent("drop", options));
        }"""
    )
    expect(app.get_by_role("img", name="Chosen picture: Image prompt 2")).to_be_visible()


def test_title_and_icon_show_the_progress(app: Page) -> None:
    app.goto("/")
    plain = app.locator("link[rel=icon]").get_attribute("href")
    write(app, "a slow title")
    generate(app)
    app.wait_for_function(r"() => /^\d+ % · Create/.test(document.title)")
    icon = app.locator("link[rel=icon]").get_attribute("href")
    assert "stroke-dasharray" in unquote(icon or "")
    expect(stage(app).get_by_text("Finished")).to_be_visible()
    expect(app).to_have_title("Create — Focal")
    assert app.locator("link[rel=icon]").get_attribute("href") == plain


def test_the_time_left_is_told(app: Page) -> None:
    app.goto("/")
    write(app, "a slow pair")
    app.get_by_label("Images").fill("2")
    generate(app)
    expect(stage(app).get_by_text(re.compile(r"about [\d.]+ s left"))).to_be_visible()


def test_escape_stops_and_a_question_mark_lists_the_keys(app: Page) -> None:
    app.goto("/")
    write(app, "a slow escape?")
    app.get_by_label("Images").fill("8")  # runs until it is stopped
    generate(app)
    expect(app.get_by_role("img", name="Live preview")).to_be_visible()
    app.keyboard.press("?")
    dialog = app.get_by_role("dialog", name="Keys")
    expect(dialog).to_contain_text("stop the picture being made")
    app.keyboard.press("Escape")  # closes the help, and does no more
    expect(dialog).to_have_count(0)
    expect(stage(app).get_by_role("button", name="Stop")).to_be_visible()
    app.keyboard.press("Escape")
    expect(stage(app).get_by_text("Stopped")).to_be_visible()


def test_who_leaves_while_a_picture_is_made_is_asked_once_and_told(app: Page) -> None:
    app.add_init_script(
        """window.told = [];
        window.Notification = class extends EventTarget {
          static permission = "default";
          static requestPermission() { Notification.permission = "granted"; }
          constructor(title, {body}) { super(); window.told.push(body); }
        };
        Object.defineProperty(document, "hidden", {get: () => window.away ?? false});"""
    )
    app.goto("/")
    write(app, "a slow absence")
    app.get_by_label("Images").fill("3")
    generate(app)
    expect(app.get_by_role("img", name="Live preview")).to_be_visible()
    app.wait_for_function("() => document.title.includes('%')")
    away = (
        "(away) => { window.away = away; document.dispatchEvent(new Event('visibilitychange')); }"
    )
    app.evaluate(away, True)
    app.evaluate(away, False)
    app.get_by_role("button", name="Yes").click()
    app.evaluate(away, True)
    app.wait_for_function("() => window.told.includes('Your picture is done')")
    app.evaluate(away, False)
    expect(app.get_by_text("Be told when a picture is done")).to_have_count(0)
