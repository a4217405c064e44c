"""Help while a prompt is written."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.actions import generate, sent, stage, write

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def test_wildcards_and_styles_are_completed(app: Page) -> None:
    app.goto("/")
    prompt = app.get_by_label("Prompt", exact=True)
    prompt.focus()
    names = app.get_by_role("listbox", name="Names that fit")
    app.keyboard.type("a __ani")
    expect(names.get_by_role("option", name="animal")).to_have_attribute("aria-selected", "true")
    app.keyboard.press("Tab")
    expect(prompt).to_have_value("a __animal__")
    app.keyboard.type(", @watercolor")
    expect(names).to_be_visible()
    app.keyboard.press("Escape")
    expect(names).to_be_hidden()
    app.keyboard.type(" ")
    names.get_by_role("option").first.click()
    expect(prompt).to_have_value("a __animal__, ")
    with app.expect_request("**/v1/engine/generate/") as request:
        generate(app)
    assert any("watercolor" in style.lower() for style in sent(request.value)["style_selections"])


def test_control_and_arrows_weigh_the_marked_words(app: Page) -> None:
    app.goto("/")
    prompt = app.get_by_label("Prompt", exact=True)
    prompt.focus()
    app.keyboard.type("a red star")
    expect(app.get_by_text("about 3 of 75 tokens")).to_be_visible()  # the help is there now
    app.keyboard.press("Control+ArrowUp")
    app.keyboard.press("Control+ArrowUp")
    expect(prompt).to_have_value("a red (star:1.2)")
    app.keyboard.press("Control+ArrowDown")
    expect(app.get_by_text("about 3 of 75 tokens")).to_be_visible()
    with app.expect_request("**/v1/engine/generate/") as request:
        app.keyboard.press("Control+Enter")
    assert sent(request.value)["prompt"] == "a red (star:1.1)"


def test_prompts_of_before_are_found_and_taken(app: Page) -> None:
    app.goto("/")
    for prompt in ("a first boat", "a second tree"):
        write(app, prompt)
        generate(app)
        expect(stage(app).get_by_role("img", name=prompt)).to_be_visible()
    app.reload()
    app.get_by_role("button", name="Prompts of before").click()
    dialog = app.get_by_role("dialog", name="Prompts of before")
    expect(dialog.get_by_role("listitem")).to_have_text(["a second tree", "a first boat"])
    dialog.get_by_label("Search the last 50 prompts").fill("boat")
    dialog.get_by_role("button", name="a first boat").click()
    expect(app.get_by_label("Prompt", exact=True)).to_have_value("a first boat")
