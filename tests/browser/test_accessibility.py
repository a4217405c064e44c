"""axe-core finds nothing serious on any page, light or dark."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.actions import dialogs_settled, open_picture, visit
from tests.browser.conftest import picture_file
from tests.requirement import missing
from tools.server_process import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]

AXE = ROOT / "tests" / "js" / "node_modules" / "axe-core" / "axe.min.js"
PAGES = ["create", "queue", "gallery", "models", "system"]


@pytest.fixture
def axe(app: Page) -> Callable[[], None]:
    """Fails the test for serious accessibility problems of the page as it is."""
    if not AXE.exists():
        missing("axe-core is not installed (make test installs it where npm is)")
    source = AXE.read_text(encoding="utf-8")

    def check() -> None:
        app.wait_for_load_state("networkidle")
        app.evaluate(source)
        found = app.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        serious = [
            (rule["id"], [node["html"][:200] for node in rule["nodes"]][:4])
            for rule in found
            if rule["impact"] in ("serious", "critical")
        ]
        assert serious == []

    return check


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious(
    app: Page, axe: Callable[[], None], queue: Callable[..., str], name: str, scheme: str
) -> None:
    app.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    queue("fail for axe")
    queue("slow for axe", image_number=4)
    queue("waits for axe")
    visit(app, name)
    if name == "create":
        for group in ("Styles", "Model and LoRAs", "Sampling", "Files and more", "Input pictures"):
            app.get_by_text(group, exact=True).click()
    expect(app.get_by_role("heading", level=1)).to_have_count(1)
    axe()


def test_axe_finds_nothing_serious_with_a_picture_open(
    app: Page, axe: Callable[[], None], queue: Callable[..., str]
) -> None:
    open_picture(app, "looked at by axe", queue)
    axe()


def test_axe_finds_nothing_serious_while_a_mask_is_painted(
    app: Page, axe: Callable[[], None], tmp_path: Path
) -> None:
    visit(app, "create")
    app.get_by_text("Input pictures").click()
    app.get_by_text("Inpaint or outpaint").click()
    app.get_by_label("File for Picture to paint in").set_input_files(picture_file(tmp_path))
    expect(app.get_by_role("application")).to_be_visible()
    axe()


def test_axe_finds_nothing_serious_in_the_docs(app: Page, axe: Callable[[], None]) -> None:
    app.goto("/docs")
    app.get_by_text("/v1/engine/generate/", exact=True).click()
    axe()


def test_axe_finds_nothing_serious_while_names_are_offered(
    app: Page, axe: Callable[[], None]
) -> None:
    visit(app, "create")
    app.get_by_label("Prompt", exact=True).focus()
    app.keyboard.type("a red __co")
    expect(app.get_by_role("listbox", name="Names that fit")).to_be_visible()
    axe()


def test_axe_finds_nothing_serious_beside_a_fresh_picture_and_in_the_large_editor(
    app: Page, axe: Callable[[], None]
) -> None:
    visit(app, "create")
    app.get_by_label("Images").fill("2")
    app.get_by_role("button", name="Generate").click()
    tools = app.get_by_role("toolbar", name="What to do with the picture")
    expect(tools).to_be_visible()
    axe()
    tools.get_by_role("button", name="Inpaint").click()
    app.get_by_role("button", name="Paint the mask large").click()
    expect(app.get_by_role("dialog", name="Paint the mask large")).to_be_visible()
    axe()
    app.keyboard.press("Escape")
    expect(app.get_by_role("dialog")).to_have_count(0)
    dialogs_settled(app)
    app.get_by_role("button", name="Keys").click()
    expect(app.get_by_role("dialog", name="Keys")).to_be_visible()
    axe()
