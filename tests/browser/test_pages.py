"""Queue, gallery, models, system and docs as a person uses them: by role and label."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import give_file, opened_page, picture_file
from tests.requirement import missing
from tools.server_process import ROOT, ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

AXE = ROOT / "tests" / "js" / "node_modules" / "axe-core" / "axe.min.js"
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
PAGES = ["create", "queue", "gallery", "models", "system"]


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


@pytest.fixture
def three_waiting(app: Page, painted: ServerProcess, queue: Callable[..., str]) -> Page:
    """The page of a paused queue in which first, second and third wait."""
    painted.post("/v1/queue/pause", {})
    for name in ("first", "second", "third"):
        queue(f"{name} in line")
    visit(app, "queue")
    expect(waiting(app)).to_have_count(3)
    return app


def test_a_paused_queue_is_resumed_from_the_page(three_waiting: Page) -> None:
    expect(three_waiting.get_by_text("The queue is paused").first).to_be_visible()
    three_waiting.get_by_role("button", name="Resume the queue").click()
    expect(waiting(three_waiting)).to_have_count(0)
    ended = three_waiting.get_by_role("list", name="Ended").get_by_role("listitem")
    expect(ended.first).to_contain_text("third in line")
    expect(three_waiting.get_by_role("button", name="Pause the queue")).to_be_visible()


def test_waiting_tasks_are_moved_and_prioritised(three_waiting: Page) -> None:
    rows = waiting(three_waiting)
    rows.nth(2).get_by_role("button", name="Earlier").click()
    expect(rows.nth(1)).to_contain_text("third in line")
    rows.nth(1).get_by_role("button", name="To the front").click()
    expect(rows.nth(0)).to_contain_text("third in line")
    rows.nth(2).get_by_label("Priority").fill("5")
    rows.nth(2).get_by_label("Priority").press("Enter")
    expect(rows.nth(0)).to_contain_text("second in line")


def test_a_waiting_task_is_dragged_to_its_place(three_waiting: Page) -> None:
    rows = waiting(three_waiting)
    rows.nth(2).drag_to(rows.nth(0))
    expect(rows.nth(0)).to_contain_text("third in line")


def test_the_skip_link_stays_on_its_page(app: Page) -> None:
    visit(app, "gallery")
    expect(app.get_by_role("heading", name="Gallery")).to_be_visible()
    app.get_by_role("link", name="Skip to content").focus()
    app.keyboard.press("Enter")
    expect(app.get_by_role("heading", name="Gallery")).to_be_focused()


def test_a_move_keeps_the_focus_where_it_was(three_waiting: Page) -> None:
    later = waiting(three_waiting).nth(0).get_by_role("button", name="Later")
    later.focus()
    three_waiting.keyboard.press("Enter")
    expect(waiting(three_waiting).nth(1)).to_contain_text("first in line")
    focused = waiting(three_waiting).nth(1).get_by_role("button", name="Later")
    expect(focused).to_be_focused()


def test_a_waiting_task_is_cancelled(three_waiting: Page) -> None:
    waiting(three_waiting).filter(has_text="second").get_by_role("button", name="Cancel").click()
    expect(waiting(three_waiting)).to_have_count(2)
    expect(waiting(three_waiting)).not_to_contain_text(["second", "second"])


def test_a_failed_task_is_tried_again_from_the_queue(app: Page, queue: Callable[..., str]) -> None:
    visit(app, "queue")
    queue("fail in the queue")
    rows = app.get_by_role("list", name="Ended").get_by_role("listitem")
    failed = rows.filter(has_text="fail in the queue")
    expect(failed).to_contain_text("the device had enough of this prompt")
    before = failed.count()
    failed.first.get_by_role("button", name="Try again").click()
    expect(app.get_by_text("Queued again")).to_be_visible()
    expect(failed).to_have_count(before + 1)


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


def test_far_down_in_the_gallery_few_cells_exist(app: Page) -> None:
    visit(app, "gallery")
    search(app, "number")
    cards(app).nth(0).focus()
    app.keyboard.press("End")
    last = cards(app).filter(has_text=re.compile("number 0$"))
    expect(last).to_be_focused()
    assert app.locator(".cell").count() < 100


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


def test_parameters_of_a_picture_are_used_again(app: Page, queue: Callable[..., str]) -> None:
    queue("made twice", image_seed=2**62 + 1, guidance_scale=3.5, image_number=2)
    visit(app, "gallery")
    search(app, "made twice")
    expect(cards(app)).to_have_count(1)
    cards(app).click()
    dialog = app.get_by_role("dialog", name="Picture")
    dialog.get_by_role("button", name="Use these parameters").click()
    expect(app.get_by_label("Prompt", exact=True)).to_have_value("made twice")
    expect(app.get_by_label("Seed", exact=True)).to_have_value(str(2**62 + 1))
    expect(app.get_by_label("Images")).to_have_value("2")
    app.get_by_role("button", name="Generate").click()
    stage = app.get_by_role("region", name="Result")
    expect(stage.get_by_role("img", name="made twice")).to_have_count(2)
    app.get_by_role("link", name="Gallery").click()
    expect(cards(app)).to_have_count(2)


def test_a_favourite_is_marked_in_one_window_and_found_in_another(
    app: Page, browser: Browser, painted: ServerProcess, queue: Callable[..., str]
) -> None:
    with opened_page(browser, painted.url) as other:
        visit(other, "gallery")
        other.get_by_label("Favourites").check()
        search(other, "beloved")
        dialog = open_picture(app, "beloved", queue)
        dialog.get_by_role("button", name="Favourite").click()
        expect(cards(other)).to_have_count(1)
        app.keyboard.press("f")
        expect(cards(other)).to_have_count(0)


def test_a_deleted_picture_comes_back_with_undo(app: Page, queue: Callable[..., str]) -> None:
    dialog = open_picture(app, "deleted by mistake", queue)
    dialog.get_by_role("button", name="Delete").click()
    expect(cards(app)).to_have_count(0)
    app.get_by_role("button", name="Undo").click()
    expect(cards(app)).to_have_count(1)


def test_a_picture_is_downloaded_with_and_without_its_parameters(
    app: Page, queue: Callable[..., str]
) -> None:
    dialog = open_picture(app, "to take home", queue)
    whole, bare = [
        app.request.get(str(dialog.get_by_role("link", name=name).get_attribute("href"))).body()
        for name in ("Download", "Without parameters")
    ]
    assert b"to take home" in whole
    assert b"to take home" not in bare
    assert bare.startswith(b"\x89PNG")


def test_a_picture_is_used_as_input(app: Page, queue: Callable[..., str]) -> None:
    dialog = open_picture(app, "to be varied", queue)
    dialog.get_by_label("Use as input").select_option("Vary or upscale")
    chosen = app.get_by_role("img", name="Chosen picture: Picture to vary or upscale")
    expect(chosen).to_be_visible()
    with app.expect_request("**/v1/engine/generate/") as request:
        app.get_by_role("button", name="Generate").click()
    body = request.value.post_data_json or {}
    assert body["uov_input_image"].startswith("/outputs/")
    assert body["uov_method"] == "Vary (Subtle)"


def test_a_picture_of_the_gallery_is_painted_in(app: Page, queue: Callable[..., str]) -> None:
    dialog = open_picture(app, "to be painted in", queue)
    dialog.get_by_label("Use as input").select_option("Inpaint or outpaint")
    app.get_by_role("application").focus()
    app.keyboard.press("Space")
    with app.expect_request("**/v1/engine/generate/") as request:
        app.get_by_role("button", name="Generate").click()
    body = request.value.post_data_json or {}
    assert body["inpaint_input_image"].startswith("/outputs/")
    assert body["inpaint_mask_image_upload"].startswith("data:image/png")


def test_two_pictures_are_compared_side_by_side(app: Page, queue: Callable[..., str]) -> None:
    queue("pair of boats", guidance_scale=2)
    queue("pair of boats", guidance_scale=9)
    visit(app, "gallery")
    search(app, "pair of boats")
    expect(cards(app)).to_have_count(2)
    cards(app).nth(0).click(modifiers=["Control"])
    expect(app.get_by_text("1 of 2 chosen to compare")).to_be_visible()
    cards(app).nth(1).click(modifiers=["Control"])
    dialog = app.get_by_role("dialog", name="Compare")
    expect(dialog.get_by_role("img", name="pair of boats")).to_have_count(2)
    expect(dialog.get_by_role("row", name="Guidance scale 9 2")).to_be_visible()


def test_the_parameters_of_any_picture_are_read(app: Page, tmp_path: Path) -> None:
    visit(app, "gallery")
    path = picture_file(tmp_path, prompt="from elsewhere")
    app.get_by_label("Read a picture's parameters").set_input_files(path)
    dialog = app.get_by_role("dialog", name="What the picture says")
    expect(dialog).to_contain_text("from elsewhere")
    dialog.get_by_role("button", name="Use these parameters").click()
    expect(app.get_by_label("Prompt", exact=True)).to_have_value("from elsewhere")
    expect(app.get_by_label("Seed", exact=True)).to_have_value(str(2**63 - 1))


def test_a_picture_dropped_onto_the_gallery_is_read(app: Page, tmp_path: Path) -> None:
    visit(app, "gallery")
    expect(cards(app).first).to_be_visible()
    give_file(cards(app).first, "drop", picture_file(tmp_path, prompt="dropped from the desk"))
    dialog = app.get_by_role("dialog", name="What the picture says")
    expect(dialog).to_contain_text("dropped from the desk")


def test_a_prompt_is_copied(app: Page, queue: Callable[..., str]) -> None:
    app.context.grant_permissions(["clipboard-read", "clipboard-write"])
    dialog = open_picture(app, "to be copied", queue)
    dialog.get_by_role("button", name="Copy prompt").click()
    expect(dialog.get_by_role("status").filter(has_text="Copied")).to_be_visible()
    assert app.evaluate("navigator.clipboard.readText()") == "to be copied"


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
    path = picture_file(tmp_path, "'><img src=x onerror=window.hacked=1>.png", prompt=HOSTILE)
    app.get_by_label("Read a picture's parameters").set_input_files(path)
    dialog = app.get_by_role("dialog", name="What the picture says")
    dialog.get_by_role("button", name="Use these parameters").click()
    expect(app.get_by_label("Prompt", exact=True)).to_have_value(HOSTILE)
    assert not loras.exists()
    assert app.evaluate("window.hacked") is None
    assert app.locator("img[src='x']").count() == 0


def test_models_say_what_is_loaded_and_give_it_back(app: Page, queue: Callable[..., str]) -> None:
    queue("loads a model")
    visit(app, "models")
    loaded = app.get_by_role("list", name="Loaded").get_by_role("listitem")
    expect(loaded).to_contain_text("embedded")
    app.get_by_label("Search models, styles and presets").fill("anime")
    presets = app.get_by_role("list", name="Presets").get_by_role("listitem")
    expect(presets).to_have_count(1)
    expect(presets).to_contain_text("model not installed")


def test_the_system_page_shows_health_errors_and_filtered_events(
    app: Page, queue: Callable[..., str]
) -> None:
    visit(app, "system")
    expect(app.get_by_text("ready", exact=True).first).to_be_visible()
    log = app.get_by_role("log", name="Events")
    app.get_by_label("Event types, all if empty").fill("task.image")
    app.get_by_role("button", name="Listen").click()
    queue("watched by the dashboard")
    expect(log).to_contain_text("task.image")
    expect(log).not_to_contain_text("task.progress")
    app.get_by_label("Event types, all if empty").fill("no.such.type")
    app.get_by_role("button", name="Listen").click()
    expect(app.get_by_role("alert")).to_contain_text("does not know this filter")
    queue("fail for the dashboard")
    errors = app.get_by_role("list", name="Recent errors")
    expect(errors).to_contain_text("fail for the dashboard")


def test_the_docs_show_examples_and_send_a_request(app: Page) -> None:
    app.goto("/docs")
    app.get_by_text("/v1/history/summary").click()
    part = app.get_by_role("group").filter(has_text="/v1/history/summary")
    for language in ("curl", "Python", "JavaScript"):
        expect(part.get_by_text(language, exact=True)).to_be_visible()
    part.get_by_role("button", name="Send").click()
    expect(part.get_by_text('"statuses"')).to_be_visible()


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
