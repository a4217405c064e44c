"""What holds for every page: connection, language, colours, key, weight, no markup from outside."""

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.actions import (
    cards,
    dialogs_settled,
    generate,
    prompt_row,
    search,
    stage,
    visit,
    write,
)
from tests.browser.conftest import PAINTED, PRESET, opened_page, picture_file, text_of
from tools.server_process import ROOT, ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

STATIC = ROOT / "static"
COLD_LIMIT = 180_000  # bytes, uncompressed, of the files that a first visit loads
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
PAGES = ["create", "queue", "gallery", "models", "system"]


def test_two_windows_keep_in_step(app: Page, browser: Browser, painted: ServerProcess) -> None:
    app.goto("/static/index.html#queue")
    with opened_page(browser, painted.url) as other:
        other.goto("/")
        write(other, "a slow boat in both windows")
        other.get_by_label("Images").fill("8")  # runs until it is stopped
        generate(other)
        generate(other)
        running = app.get_by_role("list", name="Running").get_by_role("listitem")
        expect(running).to_contain_text("a slow boat in both windows")
        waiting = app.get_by_role("list", name="Waiting").get_by_role("listitem")
        expect(waiting).to_have_count(1)
        waiting.get_by_role("button", name="Cancel").click()
        expect(waiting).to_have_count(0)
        expect(other.get_by_role("link", name=re.compile("Queue"))).to_contain_text("1")
        running.get_by_role("button", name="Stop").click()
        expect(stage(other).get_by_text("Stopped")).to_be_visible()
        expect(running).to_have_count(0)


@pytest.mark.slow
def test_a_killed_server_comes_back_with_nothing_lost(browser: Browser, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, PRESET, program=PAINTED)
    again = None
    try:
        server.wait_until_ready()
        with opened_page(browser, server.url) as page:
            page.goto("/")
            write(page, "a slow moon that outlives its server")
            generate(page)
            generate(page)
            expect(page.get_by_role("img", name="Live preview")).to_be_visible()
            server.process.kill()
            server.process.wait()
            expect(page.get_by_text("No connection, trying again")).to_be_visible()
            again = ServerProcess(tmp_path, PRESET, program=PAINTED, port=server.port)
            again.wait_until_ready()
            expect(page.get_by_text("Live", exact=True)).to_be_visible()
            expect(stage(page).get_by_text("Finished")).to_be_visible(timeout=30_000)
            made = stage(page).get_by_role("img", name="a slow moon that outlives its server")
            expect(made.first).to_be_visible()
            page.get_by_role("link", name="Gallery").click()
            expect(page.get_by_text("2 tasks")).to_be_visible(timeout=30_000)
    finally:
        server.stop()
        if again:
            again.stop()


def test_the_pages_speak_chinese(browser: Browser, painted: ServerProcess) -> None:
    with opened_page(browser, painted.url) as page:
        page.goto("/")
        page.get_by_label("Language").select_option("zh")
        expect(page.get_by_role("button", name=text_of("create.generate", "zh"))).to_be_visible()
        assert page.evaluate("document.documentElement.lang") == "zh-CN"
        page.get_by_label(text_of("field.prompt", "zh"), exact=True).fill("a slow 红色的星星")
        page.get_by_role("button", name=text_of("create.generate", "zh")).click()
        expect(page.get_by_text(re.compile(r"采样 \d/8 步"))).to_be_visible()
        expect(page.get_by_text(text_of("stage.finished", "zh")).first).to_be_visible()


@pytest.mark.slow
def test_a_server_with_a_key_asks_for_it(browser: Browser, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, [*PRESET, "--api-key", "open sesame"], program=PAINTED)
    try:
        server.wait_for("/health")
        with opened_page(browser, server.url) as page:
            page.goto("/")
            page.get_by_label("API key").fill("wrong")
            page.get_by_role("button", name="Log in").click()
            expect(page.get_by_role("alert").filter(has_text="not the key")).to_be_visible()
            page.get_by_label("API key").fill("open sesame")
            page.get_by_role("button", name="Log in").click()
            write(page, "behind a key")
            generate(page)
            expect(stage(page).get_by_role("img", name="behind a key")).to_be_visible()
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("hash_", ["create", "queue", "gallery", "models", "system"])
def test_nothing_is_wider_than_a_phone(app: Page, hash_: str) -> None:
    app.set_viewport_size({"width": 360, "height": 700})
    app.goto(f"/static/index.html#{hash_}")
    expect(app.get_by_role("heading", level=1)).to_have_count(1)
    app.wait_for_load_state("networkidle")
    assert app.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_cold_load_takes_few_requests_and_nothing_from_outside(
    app: Page, painted: ServerProcess
) -> None:
    asked: list[str] = []
    app.on("request", lambda request: asked.append(request.url))
    app.goto("/")
    expect(app.get_by_role("button", name="Generate")).to_be_visible()
    expect(app.get_by_text("Live", exact=True)).to_be_visible()
    app.wait_for_load_state("networkidle")
    assert len(asked) <= 12, asked
    paths = {urlsplit(url).path.removeprefix("/static/") for url in asked}
    files = [STATIC / path for path in paths if (STATIC / path).is_file()]
    assert sum(file.stat().st_size for file in files) <= COLD_LIMIT, sorted(paths)
    assert all(url.startswith(painted.url) for url in asked)


@pytest.mark.slow
def test_dark_colours_are_chosen_and_remembered(app: Page, queue: Callable[..., str]) -> None:
    app.goto("/")
    theme = app.get_by_role("button", name=re.compile("Colours"))
    theme.click()
    theme.click()
    expect(app.get_by_role("button", name="Colours: dark")).to_be_visible()
    app.reload()
    expect(app.get_by_role("button", name="Colours: dark")).to_be_visible()
    assert app.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 20, 26)"


@pytest.mark.slow
def test_the_skip_link_stays_on_its_page(app: Page) -> None:
    visit(app, "gallery")
    expect(app.get_by_role("heading", name="Gallery")).to_be_visible()
    app.get_by_role("link", name="Skip to content").focus()
    app.keyboard.press("Enter")
    expect(app.get_by_role("heading", name="Gallery")).to_be_focused()


def test_no_script_runs_from_prompts_file_names_or_metadata(
    app: Page, painted: ServerProcess, queue: Callable[..., str], tmp_path: Path
) -> None:
    loras = painted.folder / "models" / "loras"
    queue(HOSTILE)
    queue(f"fail {HOSTILE}")
    for name in PAGES:
        visit(app, name)
        expect(app.get_by_role("heading", level=1)).to_have_count(1)
        app.wait_for_load_state("networkidle")
    visit(app, "gallery")
    search(app, "onerror")
    expect(cards(app)).to_have_count(2)
    cards(app).last.click()
    dialog = app.get_by_role("dialog", name="Picture")
    expect(prompt_row(dialog)).to_contain_text(HOSTILE)
    app.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    dialogs_settled(app)
    path = picture_file(tmp_path, "'><img src=x onerror=window.hacked=1>.png", prompt=HOSTILE)
    app.get_by_label("Read a picture's parameters").set_input_files(path)
    dialog = app.get_by_role("dialog", name="What the picture says")
    dialog.get_by_role("button", name="Use these parameters").click()
    expect(app.get_by_label("Prompt", exact=True)).to_have_value(HOSTILE)
    assert not loras.exists()
    assert app.evaluate("window.hacked") is None
    assert app.locator("img[src='x']").count() == 0
