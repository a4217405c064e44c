"""The Models page: cards, downloads with pause and resume, presets of one's own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.actions import dialogs_settled, open_picture, visit
from tests.browser.conftest import picture_file
from tools.server_process import ROOT, ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

NAME = "Browser test preset"


@pytest.fixture
def no_preset_left() -> Iterator[None]:
    """The preset that a test saves among the server's is gone afterwards."""
    yield
    for name in (NAME, f"{NAME} 2"):
        (ROOT / "presets" / f"{name}.json").unlink(missing_ok=True)


def test_a_lora_is_a_card_with_its_picture_and_note_and_is_taken_into_the_form(
    app: Page, painted: ServerProcess, tmp_path: Path
) -> None:
    folder = painted.folder / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    kept = [folder / name for name in ("soft.safetensors", "soft.png", "soft.txt")]
    kept[0].touch()
    kept[1].write_bytes(picture_file(tmp_path).read_bytes())
    kept[2].write_text("Best at 0.6")
    try:
        visit(app, "models")
        card = app.get_by_role("list", name="LoRAs").get_by_role("listitem")
        expect(card).to_contain_text("Best at 0.6")
        assert card.locator("img").evaluate(
            "image => image.decode().then(() => image.naturalWidth)"
        )
        card.get_by_role("button", name="Use soft.safetensors").click()
        app.get_by_text("Model and LoRAs", exact=True).click()
        expect(app.get_by_label("LoRA", exact=True)).to_have_value("soft.safetensors")
    finally:
        for path in kept:
            path.unlink()
        folder.rmdir()


def test_a_presets_model_is_fetched_paused_and_gone_on_with(app: Page) -> None:
    state = "none"

    def tell(route: Route) -> None:
        listed = {"folder": "checkpoints", "name": "big.safetensors", "state": state}
        rows = [] if state == "none" else [{**listed, "received": 1_000_000, "total": 4_000_000}]
        route.fulfill(json={"downloads": rows})

    def change(route: Route) -> None:
        nonlocal state
        if route.request.method == "POST":
            state = "paused" if route.request.url.endswith("/pause") else "running"
        tell(route)

    source = {"url": "https://huggingface.co/a/b.safetensors", "bytes": 7_105_348_560}
    app.route(
        "**/v1/models/source*",
        lambda route: route.fulfill(
            json={"name": "b", "installed": False, "allowed": True, **source}
        ),
    )
    app.route("**/v1/models/downloads**", change)
    visit(app, "models")
    app.get_by_role("button", name="Download model: anime").click()
    dialog = app.get_by_role("dialog", name="Download model")
    expect(dialog).to_contain_text("7.1 GB")
    dialog.get_by_role("button", name="Download model").click()
    row = app.get_by_role("list", name="Downloads").get_by_role("listitem")
    expect(row).to_contain_text("1 MB / 4 MB")
    row.get_by_role("button", name="Pause").click()
    expect(row).to_contain_text("paused")
    row.get_by_role("button", name="Resume").click()
    expect(row.get_by_role("button", name="Pause")).to_be_visible()


@pytest.mark.usefixtures("no_preset_left")
def test_a_pictures_parameters_are_saved_as_a_preset_renamed_and_deleted(
    app: Page, queue: Callable[..., str]
) -> None:
    dialog = open_picture(app, "a preset to be", queue)
    dialog.get_by_role("button", name="Save as preset").click()
    app.get_by_label("Name of the preset").fill(NAME)
    app.get_by_role("button", name="Save", exact=True).click()
    expect(app.get_by_text(f"Preset {NAME} is saved")).to_be_visible()
    dialogs_settled(app)
    visit(app, "models")
    presets = app.get_by_role("list", name="Presets")
    presets.get_by_text(NAME).click()
    presets.get_by_role("button", name="Rename preset").click()
    app.get_by_label("Name of the preset").fill(f"{NAME} 2")
    app.get_by_role("button", name="Save", exact=True).click()
    presets.get_by_text(f"{NAME} 2").click()
    presets.get_by_role("button", name="Delete preset").click()
    expect(presets.get_by_text(NAME)).to_have_count(0)
    app.get_by_role("button", name="Undo").click()
    expect(presets.get_by_text(f"{NAME} 2")).to_be_visible()
