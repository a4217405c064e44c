"""What several browser tests do and look for on the pages."""

import json
import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page, Request, expect


def write(page: Page, prompt: str) -> None:
    page.get_by_label("Prompt", exact=True).fill(prompt)


def generate(page: Page) -> None:
    page.get_by_role("button", name="Generate").click()


def stage(page: Page) -> Any:
    return page.get_by_role("region", name="Result")


def sent(request: Request) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(request.post_data or "{}")
    return body


def visit(page: Page, name: str) -> None:
    page.goto(f"/static/index.html#{name}")


def waiting(page: Page) -> Locator:
    return page.get_by_role("list", name="Waiting").get_by_role("listitem")


def cards(page: Page) -> Locator:
    return page.get_by_role("list", name="Pictures").get_by_role("listitem").get_by_role("button")


def search(page: Page, words: str) -> None:
    """Type into the search and wait for its answer."""
    with page.expect_response(re.compile(r"/v1/history\?.*search=")):
        page.get_by_label("Search prompts").fill(words)


def dialogs_settled(page: Page) -> None:
    """Wait until the history's entry is that of the open dialog, or of none.

    A closed dialog takes its entry away a moment after it is gone, and would take one that is made
    meanwhile.
    """
    page.wait_for_function(
        """() => history.state?.dialog
          == [...document.querySelectorAll("dialog[open]")].at(-1)?.dataset.number"""
    )


def prompt_row(dialog: Locator) -> Locator:
    return dialog.get_by_role("row", name=re.compile("^Prompt "))


def open_picture(app: Page, prompt: str, queue: Callable[..., str]) -> Locator:
    queue(prompt)
    visit(app, "gallery")
    search(app, prompt)
    expect(cards(app)).to_have_count(1)
    cards(app).click()
    dialog = app.get_by_role("dialog", name="Picture")
    expect(prompt_row(dialog)).to_contain_text(prompt)
    return dialog
