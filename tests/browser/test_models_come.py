"""Models that come while the page is open, or are not there yet."""

import json

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.actions import dialogs_settled, generate, write
from tools.server_process import ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def test_a_new_lora_appears_without_a_reload(app: Page, painted: ServerProcess) -> None:
    app.goto("/")
    app.get_by_text("Model and LoRAs", exact=True).click()
    expect(app.get_by_text("No LoRA files yet")).to_be_visible()
    folder = painted.folder / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "sketch.safetensors"
    path.touch()
    try:
        expect(app.get_by_text("No LoRA files yet")).to_be_hidden()
        app.get_by_role("button", name="Add a LoRA").click()
        expect(app.get_by_label("LoRA", exact=True)).to_have_value("sketch.safetensors")
    finally:
        path.unlink()
        folder.rmdir()


def test_a_presets_missing_model_is_asked_for_with_its_size(app: Page) -> None:
    def tell(route: Route) -> None:
        source = {"url": "https://huggingface.co/a/b.safetensors", "bytes": 7_105_348_560}
        route.fulfill(json={"name": "b", "installed": False, "allowed": True, **source})

    app.route("**/v1/models/source*", tell)
    app.route("**/v1/engine/generate/", lambda route: route.fulfill(status=429, json={}))
    asked: list[str] = []
    app.on("request", lambda request: asked.append(request.url))
    app.goto("/")
    app.get_by_label("Preset", exact=True).select_option("default")
    write(app, "gigabytes")
    generate(app)
    dialog = app.get_by_role("dialog", name="Fetch the model first?")
    expect(dialog).to_contain_text("7.1 GB")
    expect(dialog).to_contain_text("huggingface.co")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    dialogs_settled(app)
    assert not any("/generate" in url for url in asked)
    generate(app)
    with app.expect_request("**/v1/engine/generate/") as request:
        dialog.get_by_role("button", name="Download and generate").click()
    assert json.loads(request.value.post_data or "")["preset"] == "default"


def test_the_real_device_is_named(page: Page) -> None:
    page.goto("/static/index.html#system")
    expect(page.get_by_text("cpu (").first).to_be_visible(timeout=60_000)
    page.goto("/static/index.html#models")
    loaded = page.get_by_role("list", name="Loaded").get_by_role("listitem")
    expect(loaded).to_contain_text("cpu (", timeout=60_000)
