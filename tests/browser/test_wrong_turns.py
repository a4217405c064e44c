"""Wrong turns that cost nothing: Back, a page that fails to load, a drop beside its place."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.actions import (
    cards,
    dialogs_settled,
    generate,
    open_picture,
    stage,
    visit,
    write,
)
from tests.browser.conftest import give_file, opened_page, picture_file, text_of
from tools.server_process import ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def test_back_closes_the_picture_and_not_the_gallery(app: Page, queue: Callable[..., str]) -> None:
    visit(app, "create")
    app.get_by_role("link", name="Gallery").click()
    dialog = open_picture_here(app, "back to the gallery", queue)
    app.go_back()
    expect(dialog).to_have_count(0)
    expect(app.get_by_role("heading", name="Gallery")).to_be_visible()
    cards(app).click()
    expect(dialog).to_be_visible()
    app.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    dialogs_settled(app)
    app.go_back()  # closing took the picture's entry away: one step leads to the page before
    expect(app.get_by_role("button", name="Generate")).to_be_visible()


def open_picture_here(app: Page, prompt: str, queue: Callable[..., str]) -> Locator:
    queue(prompt)
    app.get_by_label("Search prompts").fill(prompt)
    expect(cards(app)).to_have_count(1)
    cards(app).click()
    dialog = app.get_by_role("dialog", name="Picture")
    expect(dialog).to_be_visible()
    return dialog


def test_back_from_used_parameters_leads_to_the_gallery(
    app: Page, queue: Callable[..., str]
) -> None:
    dialog = open_picture(app, "parameters and back", queue)
    dialog.get_by_role("button", name="Use these parameters").click()
    expect(app.get_by_label("Prompt", exact=True)).to_have_value("parameters and back")
    expect(app.get_by_text("The form has these parameters now")).to_be_visible()
    app.go_back()
    expect(app.get_by_role("heading", name="Gallery")).to_be_visible()
    expect(app.get_by_role("dialog")).to_have_count(0)


def test_use_as_input_goes_to_the_picture_and_says_so(app: Page, queue: Callable[..., str]) -> None:
    app.set_viewport_size({"width": 1000, "height": 560})
    dialog = open_picture(app, "taken as an input", queue)
    dialog.get_by_label("Use as input").select_option("vary")
    expect(app.get_by_text("The picture is an input now: Vary or upscale")).to_be_visible()
    chosen = app.get_by_role("img", name="Chosen picture: Picture to vary or upscale")
    expect(chosen).to_be_in_viewport()


def test_a_page_that_does_not_load_leaves_the_others_and_can_be_tried_again(app: Page) -> None:
    app.route("**/js/queue.js*", lambda route: route.abort())
    app.goto("/")
    app.get_by_role("link", name="Queue").click()
    expect(app.get_by_role("alert")).to_contain_text("could not be opened")
    app.get_by_role("link", name="System").click()
    expect(app.get_by_role("heading", name="System")).to_be_visible()
    expect(app.get_by_role("alert")).to_be_hidden()
    app.unroute("**/js/queue.js*")
    app.get_by_role("link", name="Queue").click()
    expect(app.get_by_role("button", name="Pause the queue")).to_be_visible()
    expect(app.get_by_role("alert")).to_have_count(0)


def test_a_file_dropped_beside_its_place_becomes_an_input_and_never_leaves_the_page(
    app: Page, tmp_path: Path
) -> None:
    app.goto("/")
    give_file(stage(app), "drop", picture_file(tmp_path))
    expect(app.get_by_text("The picture is an input now: Vary or upscale")).to_be_visible()
    visit(app, "system")
    expect(app.get_by_role("heading", name="System")).to_be_visible()
    give_file(app.get_by_role("heading", name="System"), "drop", picture_file(tmp_path))
    expect(app.get_by_role("alert")).to_contain_text("Drop pictures on Create")


def test_a_file_that_cannot_be_shown_is_refused_with_a_reason(app: Page, tmp_path: Path) -> None:
    app.goto("/")
    app.get_by_text("Input pictures").click()
    app.get_by_text("Vary or upscale", exact=True).first.click()
    path = tmp_path / "scan.png"
    path.write_bytes(b"II*\0 no picture that a browser knows")
    place = app.get_by_label("File for Picture to vary or upscale")
    place.set_input_files(path)
    place.set_input_files(path)
    expect(app.get_by_role("alert")).to_have_count(1)  # said twice, shown once
    expect(app.get_by_role("alert")).to_contain_text("cannot be shown here")
    expect(app.get_by_role("img", name=re.compile("^Chosen picture"))).to_have_count(0)


def test_one_task_is_counted_as_one(app: Page, queue: Callable[..., str]) -> None:
    queue("counted once")
    visit(app, "gallery")
    app.get_by_label("Search prompts").fill("counted once")
    expect(app.get_by_text("One task", exact=True)).to_be_visible()


def test_refusals_are_said_in_chinese_on_the_chinese_page(
    browser: Browser, painted: ServerProcess
) -> None:
    with opened_page(browser, painted.url) as page:
        page.goto("/")
        page.get_by_label("Language").select_option("zh")
        page.route(
            "**/v1/engine/generate/",
            lambda route: route.continue_(post_data='{"base_model_name": "none such"}'),
        )
        page.get_by_role("button", name=text_of("create.generate", "zh")).click()
        expect(page.get_by_role("alert")).to_contain_text("没有这个模型")


def test_the_built_in_models_examples_are_a_click_away(app: Page) -> None:
    app.goto("/")
    app.get_by_role("button", name="a red star on a blue background").click()
    expect(app.get_by_label("Prompt", exact=True)).to_have_value("a red star on a blue background")
    generate(app)
    expect(stage(app).get_by_text("Finished")).to_be_visible()
    write(app, "")
    expect(app.get_by_placeholder("in English")).to_be_visible()
