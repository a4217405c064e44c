"""The gallery: search, filters, keyboard, few cells for many tasks."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.actions import cards, prompt_row, search, visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def test_the_gallery_is_searched_by_prompt(app: Page) -> None:
    visit(app, "gallery")
    search(app, "number 17")
    expect(cards(app).filter(has_text=re.compile(r"number 17\d?$")).first).to_be_visible()
    found = app.get_by_text(re.compile(r"^\d+ tasks$"))
    expect(found).to_have_text("13 tasks")  # 17, 117, 217 and 170 to 179
    search(app, "nothing says this")
    expect(app.get_by_text("Nothing here.")).to_be_visible()


def test_the_gallery_is_filtered_by_status_and_time(app: Page) -> None:
    visit(app, "gallery")
    app.get_by_label("Status").select_option("failed")
    search(app, "number")
    expect(app.get_by_text("6 tasks", exact=True)).to_be_visible()
    app.get_by_label("Time").select_option("day")
    expect(app.get_by_text("0 tasks", exact=True)).to_be_visible()


def test_a_new_picture_appears_in_the_gallery_by_itself(
    app: Page, queue: Callable[..., str]
) -> None:
    visit(app, "gallery")
    search(app, "newcomer")
    expect(app.get_by_text("0 tasks", exact=True)).to_be_visible()
    queue("a newcomer")
    expect(cards(app)).to_have_count(1)


@pytest.mark.slow
def test_the_gallery_is_walked_with_the_keyboard(app: Page) -> None:
    visit(app, "gallery")
    search(app, "number")
    cards(app).nth(0).focus()
    first = cards(app).nth(0).inner_text()
    app.keyboard.press("ArrowRight")
    expect(cards(app).nth(1)).to_be_focused()
    app.keyboard.press("ArrowLeft")
    app.keyboard.press("Enter")
    dialog = app.get_by_role("dialog", name="Picture")
    expect(prompt_row(dialog)).to_contain_text(first)
    app.keyboard.press("ArrowRight")
    expect(dialog.get_by_text(re.compile("^2 / "))).to_be_visible()
    app.keyboard.press("+")
    app.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(cards(app).nth(1)).to_be_focused()


@pytest.mark.slow
def test_far_down_in_the_gallery_few_cells_exist(app: Page) -> None:
    visit(app, "gallery")
    search(app, "number")
    cards(app).nth(0).focus()
    app.keyboard.press("End")
    last = cards(app).filter(has_text=re.compile("number 0$"))
    expect(last).to_be_focused()
    assert app.locator(".cell").count() < 100
