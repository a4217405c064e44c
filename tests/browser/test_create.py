"""Making pictures as a person does it: by role and label."""

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Request, Route, expect

from tests.browser.conftest import (
    PAINTED,
    PRESET,
    give_file,
    opened_page,
    picture_file,
    text_of,
)
from tools.server_process import ROOT, ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

STATIC = ROOT / "static"
COLD_LIMIT = 180_000  # bytes, uncompressed, of the files that a first visit loads


def write(page: Page, prompt: str) -> None:
    page.get_by_label("Prompt", exact=True).fill(prompt)


def generate(page: Page) -> None:
    page.get_by_role("button", name="Generate").click()


def stage(page: Page) -> Any:
    return page.get_by_role("region", name="Result")


def sent(request: Request) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(request.post_data or "{}")
    return body


def test_a_prompt_becomes_a_picture_with_preview_and_progress(app: Page) -> None:
    app.goto("/")
    write(app, "a slow heart")
    generate(app)
    expect(stage(app).get_by_text(re.compile(r"Sampling step \d+/8"))).to_be_visible()
    expect(app.get_by_role("img", name="Live preview")).to_be_visible()
    expect(app.get_by_role("progressbar", name="Progress")).to_be_visible()
    expect(stage(app).get_by_text("Finished")).to_be_visible()
    expect(stage(app).get_by_role("img", name="a slow heart")).to_be_visible()


def test_two_windows_keep_in_step(app: Page, browser: Browser, painted: ServerProcess) -> None:
    app.goto("/static/index.html#queue")
    with opened_page(browser, painted.url) as other:
        other.goto("/")
        write(other, "a slow boat in both windows")
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


def test_a_reload_takes_up_the_task_where_it_stands(app: Page) -> None:
    app.goto("/")
    write(app, "a slow house")
    generate(app)
    expect(app.get_by_role("img", name="Live preview")).to_be_visible()
    app.reload()
    expect(app.get_by_role("img", name="Live preview")).to_be_visible()
    expect(app.get_by_label("Prompt", exact=True)).to_have_value("a slow house")
    expect(stage(app).get_by_text("Finished")).to_be_visible()
    app.reload()
    expect(stage(app).get_by_role("img", name="a slow house")).to_be_visible()


def test_one_picture_is_skipped_and_the_next_one_made(app: Page) -> None:
    app.goto("/")
    write(app, "a slow tree")
    app.get_by_label("Images").fill("2")
    generate(app)
    expect(stage(app).get_by_text(re.compile("image 1/2"))).to_be_visible()
    stage(app).get_by_role("button", name="Skip").click()
    expect(stage(app).get_by_text(re.compile("image 2/2"))).to_be_visible()
    expect(stage(app).get_by_text("Finished")).to_be_visible()
    expect(stage(app).get_by_role("img", name="a slow tree")).to_have_count(1)


def test_a_64_bit_seed_goes_there_and_back_exactly(app: Page, painted: ServerProcess) -> None:
    app.goto("/")
    write(app, "seeded")
    app.get_by_label("Seed", exact=True).fill("9223372036854775807")
    generate(app)
    expect(stage(app).get_by_text("Finished")).to_be_visible()
    task = painted.get("/tasks?query=history&page_size=1")["history"][0]
    assert task["req_params"]["image_seed"] == 2**63 - 1
    app.reload()
    expect(app.get_by_label("Seed", exact=True)).to_have_value("9223372036854775807")
    app.get_by_role("button", name="Random seed each time").click()
    expect(app.get_by_label("Seed", exact=True)).to_have_value("")
    app.get_by_role("button", name="Keep the last picture's seed").click()
    expect(app.get_by_label("Seed", exact=True)).to_have_value("9223372036854775807")
    stage(app).get_by_role("button", name="Open picture 1").click()
    dialog = app.get_by_role("dialog", name="Picture")
    expect(dialog.get_by_role("row", name="Seed 9223372036854775807")).to_be_visible()


def test_a_seed_that_is_too_large_is_refused_before_it_is_sent(app: Page) -> None:
    app.goto("/")
    app.get_by_label("Seed", exact=True).fill("9223372036854775808")
    with_requests: list[str] = []
    app.on("request", lambda request: with_requests.append(request.url))
    generate(app)
    expect(app.get_by_label("Seed", exact=True)).to_have_attribute("aria-invalid", "")
    assert not any("generate" in url for url in with_requests)


def test_ranges_choices_and_help_come_from_the_api_document(
    app: Page, painted: ServerProcess
) -> None:
    schemas = painted.get("/openapi.json")["components"]["schemas"]
    fields = schemas["GenerateRequest"]["properties"]
    app.goto("/")
    number = app.get_by_label("Images")
    expect(number).to_have_attribute("max", str(fields["image_number"]["maximum"]))
    expect(number).to_have_accessible_description(fields["image_number"]["description"])
    app.get_by_text("Sampling", exact=True).click()
    sampler = app.get_by_label("Sampler", exact=True)
    options = sampler.get_by_role("option").all_text_contents()
    assert options == fields["sampler_name"]["enum"]
    guidance = app.get_by_label("Guidance scale")
    expect(guidance).to_have_attribute("max", str(fields["guidance_scale"]["maximum"]))
    expect(app.get_by_text(fields["guidance_scale"]["description"])).to_be_visible()


def test_styles_are_found_by_search_and_sent(app: Page) -> None:
    app.goto("/")
    app.get_by_text("Styles", exact=True).click()
    app.get_by_label("Search styles").fill("watercolor")
    app.get_by_role("checkbox", name="watercolor").first.check()
    chosen = app.get_by_role("group", name="Chosen styles").get_by_role("button")
    expect(chosen).to_have_count(1)
    with app.expect_request("**/v1/engine/generate/") as request:
        generate(app)
    assert len(sent(request.value)["style_selections"]) == 1
    chosen.click()
    expect(chosen).to_have_count(0)


def test_size_and_parameters_are_sent_as_chosen_and_the_rest_is_left_to_the_preset(
    app: Page,
) -> None:
    app.goto("/")
    app.get_by_role("radio", name="320\u00d7192").check(force=True)
    app.get_by_text("Sampling", exact=True).click()
    app.get_by_label("Guidance scale").fill("7.5")
    with app.expect_request("**/v1/engine/generate/") as request:
        generate(app)
    body = sent(request.value)
    assert body.pop("async_process") is True
    assert body == {"aspect_ratios_selection": "320*192", "guidance_scale": 7.5}
    app.get_by_role("button", name="Back to the preset's values").click()
    expect(app.get_by_label("Guidance scale")).to_have_value("5")


def test_a_refused_request_says_why(app: Page) -> None:
    app.route(
        "**/v1/engine/generate/", lambda route: route.continue_(post_data='{"image_number": 99}')
    )
    app.goto("/")
    generate(app)
    expect(app.get_by_role("alert").filter(has_text="image_number")).to_be_visible()


def test_a_broken_connection_makes_one_task_and_not_two(app: Page, painted: ServerProcess) -> None:
    lost: list[str] = []

    def lose_the_first_answer(route: Route) -> None:
        if lost:
            route.continue_()
            return
        lost.append(route.fetch().text())  # the server has heard it; the page never knows
        route.abort("connectionreset")

    app.route("**/v1/engine/generate/", lose_the_first_answer)
    app.goto("/")
    write(app, "sent over a bad line")
    generate(app)
    expect(stage(app).get_by_text("Finished")).to_be_visible()
    assert len(lost) == 1
    assert painted.get("/v1/history?search=bad+line")["total"] == 1


def test_a_failed_task_says_why_and_can_be_tried_again(app: Page) -> None:
    app.goto("/")
    write(app, "fail please")
    generate(app)
    expect(app.get_by_role("alert")).to_contain_text("the device had enough of this prompt")
    stage(app).get_by_role("button", name="Try again").click()
    expect(app.get_by_text("Queued again")).to_be_visible()
    expect(app.get_by_role("alert")).to_contain_text("the device had enough of this prompt")


def test_a_mask_is_painted_and_sent_with_the_picture(app: Page, tmp_path: Path) -> None:
    app.goto("/")
    app.get_by_text("Input pictures").click()
    app.get_by_text("Inpaint or outpaint").click()
    app.get_by_label("File for Picture to paint in").set_input_files(picture_file(tmp_path))
    canvas = app.get_by_role("application", name="Mask: paint where the picture shall change")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    app.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2)
    app.mouse.down()
    app.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2, steps=4)
    app.mouse.up()
    with app.expect_request("**/v1/engine/generate/") as request:
        generate(app)
    body = sent(request.value)
    assert body["inpaint_input_image"].startswith("data:image/png;base64,")
    mask = Image.open(io.BytesIO(base64.b64decode(body["inpaint_mask_image_upload"].split(",")[1])))
    assert mask.size == (200, 120)
    grey = mask.convert("L")
    assert grey.getpixel((100, 60)) == 255
    assert grey.getpixel((100, 5)) == 0
    assert grey.getpixel((5, 60)) == 0


def test_a_mask_is_painted_with_the_keyboard_alone(app: Page, tmp_path: Path) -> None:
    app.goto("/")
    app.get_by_text("Input pictures").click()
    app.get_by_text("Inpaint or outpaint").click()
    app.get_by_label("File for Picture to paint in").set_input_files(picture_file(tmp_path))
    canvas = app.get_by_role("application", name="Mask: paint where the picture shall change")
    canvas.focus()
    app.keyboard.press("Space")
    app.keyboard.press("Shift+ArrowRight")
    with app.expect_request("**/v1/engine/generate/") as request:
        app.keyboard.press("Control+Enter")
    assert sent(request.value)["inpaint_mask_image_upload"].startswith("data:image/png")


def test_a_picture_is_inpainted_and_outpainted_by_the_model(page: Page, tmp_path: Path) -> None:
    page.goto("/")
    write(page, "a red star on a teal background")
    page.get_by_text("Input pictures").click()
    page.get_by_text("Inpaint or outpaint").click()
    page.get_by_label("File for Picture to paint in").set_input_files(picture_file(tmp_path))
    page.get_by_role("application").focus()
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
    page.get_by_role("spinbutton", name="Pixels to add on the right").fill("64")
    generate(page)
    made = stage(page).get_by_role("img", name="a red star on a teal background")
    expect(made).to_be_visible(timeout=90_000)
    width, height = made.evaluate("image => [image.naturalWidth, image.naturalHeight]")
    assert width > height
    stage(page).get_by_role("button", name="Open picture 1").click()
    dialog = page.get_by_role("dialog", name="Picture")
    expect(dialog.get_by_role("row", name="Outpaint distance")).to_contain_text("64")


def test_a_model_that_is_not_there_says_so_when_it_should_find_a_mask(
    app: Page, tmp_path: Path
) -> None:
    app.goto("/")
    app.get_by_text("Input pictures").click()
    app.get_by_text("Inpaint or outpaint").click()
    app.get_by_label("File for Picture to paint in").set_input_files(picture_file(tmp_path))
    app.get_by_text("Let a model find the mask").click()
    with app.expect_response("**/v1/tools/generate_mask") as response:
        app.get_by_role("button", name="Find the mask").click()
    assert response.value.status in (501, 503)
    expect(app.get_by_role("alert").filter(visible=True)).to_be_visible()


def test_outpainting_edges_are_moved_and_sent(app: Page, tmp_path: Path) -> None:
    app.goto("/")
    app.get_by_text("Input pictures").click()
    app.get_by_text("Inpaint or outpaint").click()
    app.get_by_label("File for Picture to paint in").set_input_files(picture_file(tmp_path))
    edge = app.get_by_role("slider", name="Pixels to add on the right")
    edge.focus()
    app.keyboard.press("ArrowRight")
    app.keyboard.press("ArrowRight")
    expect(app.get_by_role("spinbutton", name="Pixels to add on the right")).to_have_value("64")
    app.get_by_role("checkbox", name="Top").check()
    with app.expect_request("**/v1/engine/generate/") as request:
        generate(app)
    body = sent(request.value)
    assert body["outpaint_selections"] == ["Top", "Right"]
    assert body["outpaint_distance"] == [0, 0, 64, 0]


def test_image_prompts_are_pasted_dropped_and_sent(app: Page, tmp_path: Path) -> None:
    app.goto("/")
    app.get_by_text("Input pictures").click()
    app.get_by_text("Image prompt", exact=True).click()
    give_file(app.locator("body"), "paste", picture_file(tmp_path))
    give_file(app.locator("image-slot:visible").nth(1), "drop", picture_file(tmp_path))
    expect(app.get_by_role("img", name=re.compile("Chosen picture: Image prompt"))).to_have_count(2)
    app.get_by_label("Kind").first.select_option("PyraCanny")
    with app.expect_request("**/v1/engine/generate/") as request:
        generate(app)
    prompt, dropped = sent(request.value)["controlnet_image"]
    assert dropped["cn_img"].startswith("data:image/png")
    assert prompt["cn_type"] == "PyraCanny"
    assert prompt["cn_img"].startswith("data:image/png")


def test_a_picture_is_made_with_the_keyboard_alone(app: Page) -> None:
    app.goto("/")
    expect(app.get_by_role("button", name="Generate")).to_be_visible()
    app.keyboard.press("Tab")
    expect(app.get_by_role("link", name="Skip to content")).to_be_focused()
    app.keyboard.press("Enter")
    app.keyboard.press("Tab")
    expect(app.get_by_label("Prompt", exact=True)).to_be_focused()
    app.keyboard.type("typed by hand")
    app.keyboard.press("Control+Enter")
    expect(stage(app).get_by_text("Finished")).to_be_visible()
    result = stage(app).get_by_role("button", name="Open picture 1")
    for _ in range(40):
        app.keyboard.press("Tab")
        if result.evaluate("button => button === document.activeElement"):
            break
    app.keyboard.press("Enter")
    dialog = app.get_by_role("dialog", name="Picture")
    expect(dialog).to_be_visible()
    app.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


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


def test_dark_colours_are_chosen_and_remembered(app: Page, queue: Callable[..., str]) -> None:
    app.goto("/")
    theme = app.get_by_role("button", name=re.compile("Colours"))
    theme.click()
    theme.click()
    expect(app.get_by_role("button", name="Colours: dark")).to_be_visible()
    app.reload()
    expect(app.get_by_role("button", name="Colours: dark")).to_be_visible()
    assert app.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 20, 26)"
