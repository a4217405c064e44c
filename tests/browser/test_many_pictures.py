"""The gallery with many cards chosen: by Ctrl, Shift, frame and keyboard; zip, boards, views."""

import zipfile
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.actions import cards, search, visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def chosen(app: Page) -> Locator:
    return app.get_by_role("group", name="Selected cards")


def some(app: Page, queue: Callable[..., str], words: str, count: int) -> None:
    for number in range(count):
        queue(f"{words} {number}")
    visit(app, "gallery")
    search(app, words)
    expect(cards(app)).to_have_count(count)


def test_chosen_tasks_are_deleted_together_and_come_back(
    app: Page, queue: Callable[..., str]
) -> None:
    some(app, queue, "many kites", 4)
    cards(app).nth(0).click(modifiers=["Control"])
    cards(app).nth(2).click(modifiers=["Shift"])
    expect(chosen(app)).to_contain_text("3 selected")
    cards(app).nth(1).click(modifiers=["Control"])
    expect(chosen(app)).to_contain_text("2 selected")
    chosen(app).get_by_role("button", name="Delete").click()
    expect(cards(app)).to_have_count(2)
    app.get_by_role("button", name="Undo").click()
    expect(cards(app)).to_have_count(4)
    expect(chosen(app)).to_be_hidden()


def test_cards_are_chosen_with_the_keyboard_and_become_favourites(
    app: Page, queue: Callable[..., str]
) -> None:
    some(app, queue, "many larks", 3)
    cards(app).nth(0).focus()
    app.keyboard.press("Shift+ArrowRight")
    expect(chosen(app)).to_contain_text("2 selected")
    app.keyboard.press("Control+a")
    expect(chosen(app)).to_contain_text("3 selected")
    chosen(app).get_by_role("button", name="Favourite").click()
    app.get_by_label("Favourites").check()
    expect(cards(app)).to_have_count(3)
    expect(chosen(app)).to_be_hidden()


def test_a_frame_drawn_over_cards_chooses_them(app: Page, queue: Callable[..., str]) -> None:
    some(app, queue, "many moths", 3)
    first, second = cards(app).nth(0).bounding_box(), cards(app).nth(1).bounding_box()
    assert first
    assert second
    app.mouse.move(first["x"] + 40, first["y"] + 150)
    app.mouse.down()
    app.mouse.move(first["x"] + 60, first["y"] + 120)
    app.mouse.move(second["x"] + 30, second["y"] + 40)
    app.mouse.up()
    expect(chosen(app)).to_contain_text("2 selected")
    expect(app.get_by_role("dialog")).to_have_count(0)
    app.keyboard.press("Escape")
    cards(app).nth(2).click()
    expect(app.get_by_role("dialog", name="Picture")).to_be_visible()


def test_chosen_pictures_are_saved_as_a_zip(app: Page, queue: Callable[..., str]) -> None:
    some(app, queue, "many geese", 2)
    cards(app).nth(0).focus()
    app.keyboard.press("Control+a")
    with app.expect_download() as download:
        chosen(app).get_by_role("button", name="Download zip").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert len(archive.namelist()) == 2
        assert archive.testzip() is None


def test_chosen_cards_are_dropped_on_a_board(app: Page, queue: Callable[..., str]) -> None:
    some(app, queue, "many whales", 3)
    app.get_by_role("button", name="New board").click()
    app.get_by_label("Name of the board").fill("Sea")
    app.get_by_role("button", name="Save").click()
    board = app.get_by_role("group", name="Boards").get_by_role("button", name="Sea")
    expect(board).to_be_visible()
    cards(app).nth(0).click(modifiers=["Control"])
    cards(app).nth(1).click(modifiers=["Control"])
    cards(app).nth(0).hover()
    app.mouse.down()
    board.hover()
    app.mouse.move(*_middle(board))
    app.mouse.up()
    expect(board).to_have_text("Sea 2")
    board.click()
    expect(cards(app)).to_have_count(2)
    cards(app).nth(0).click(modifiers=["Control"])
    chosen(app).get_by_role("button", name="Take off the board").click()
    expect(cards(app)).to_have_count(1)
    app.get_by_role("button", name="Rename board").click()
    app.get_by_label("Name of the board").fill("Ocean")
    app.get_by_role("button", name="Save").click()
    app.get_by_role("button", name="Delete board").click()
    expect(cards(app)).to_have_count(3)


def test_the_gallery_is_sorted_shown_by_picture_and_without_failures(
    app: Page, queue: Callable[..., str]
) -> None:
    queue("many wells", image_number=2)
    queue("many wells that fail")
    queue("many wells at last")
    visit(app, "gallery")
    search(app, "many wells")
    expect(cards(app)).to_have_count(3)
    app.get_by_label("Hide failed").check()
    expect(cards(app)).to_have_count(2)
    app.get_by_label("Order").select_option("oldest")
    expect(cards(app).nth(1)).to_have_text("many wells at last")
    app.get_by_label("Cards", exact=True).select_option("picture")
    expect(app.get_by_text("3 pictures", exact=True)).to_be_visible()
    wide = cards(app).nth(0).bounding_box()
    app.get_by_label("Size of the cards").fill("100")
    narrow = cards(app).nth(0).bounding_box()
    assert wide
    assert narrow
    assert narrow["width"] < wide["width"]
    app.reload()
    expect(app.get_by_label("Cards", exact=True)).to_have_value("picture")
    expect(app.get_by_label("Hide failed")).to_be_checked()


def _middle(element: Locator) -> tuple[float, float]:
    box = element.bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
