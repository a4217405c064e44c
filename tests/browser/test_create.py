"""The page that makes images: what is sent, and what is shown of it."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.actions import generate, sent, stage, write
from tools.server_process import ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def test_a_prompt_becomes_a_picture_with_preview_and_progress(app: Page) -> None:
    app.goto("/")
    write(app, "a slow heart")
    generate(app)
    expect(stage(app).get_by_text(re.compile(r"Sampling step \d+/8"))).to_be_visible()
    expect(app.get_by_role("img", name="Live preview")).to_be_visible()
    expect(app.get_by_role("progressbar", name="Progress")).to_be_visible()
    expect(stage(app).get_by_text("Finished")).to_be_visible()
    expect(stage(app).get_by_role("img", name="a slow heart")).to_be_visible()


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


@pytest.mark.slow
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


def test_pictures_of_a_batch_are_shown_as_they_come_and_stay_after_a_stop(app: Page) -> None:
    app.goto("/")
    write(app, "a slow batch")
    app.get_by_label("Images").fill("3")
    generate(app)
    made = stage(app).get_by_role("img", name="a slow batch")
    expect(made).to_have_count(1)
    expect(app.get_by_role("img", name="Live preview")).to_be_visible()
    stage(app).get_by_role("button", name="Stop").click()
    expect(stage(app).get_by_text("Stopped")).to_be_visible()
    expect(made.first).to_be_visible()


def test_notes_of_the_making_stand_beside_the_picture(app: Page) -> None:
    app.goto("/")
    write(app, "a boat of an unknown lora")
    generate(app)
    expect(stage(app).get_by_role("list", name="Notes on the making")).to_contain_text("sparkle")
    stage(app).get_by_role("button", name="Open picture 1").click()
    notes = app.get_by_role("dialog", name="Picture").get_by_role(
        "list", name="Notes on the making"
    )
    expect(notes).to_contain_text("sparkle")


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
    expect(stage(app).get_by_role("img", name="seeded")).to_be_visible()  # its seed is known now
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
    assert [*options, None] == fields["sampler_name"]["enum"]
    guidance = app.get_by_label("Guidance scale")
    expect(guidance).to_have_attribute("max", str(fields["guidance_scale"]["maximum"]))
    expect(app.get_by_text(fields["guidance_scale"]["description"])).to_be_visible()


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_only_what_acts_with_the_chosen_checkpoint_is_shown_and_sent(app: Page) -> None:
    def with_another_architecture(route: Route) -> None:
        models = route.fetch().json()
        other = {"name": "other", "bytes": 0, "architecture": "Sana", "grid": 32}
        acting = ["prompt", "base_model_name", "guidance_scale", "uov_input_image", "uov_method"]
        models["checkpoints"].append({**other, "parameters": acting})
        route.fulfill(json=models)

    app.route("**/v1/models", with_another_architecture)
    app.goto("/")
    app.get_by_text("Sampling", exact=True).click()
    app.get_by_label("Guidance scale").fill("3")
    app.get_by_label("Sharpness").fill("9")
    app.get_by_text("Input pictures").click()
    app.get_by_text("Model and LoRAs", exact=True).click()
    app.get_by_label("Base model", exact=True).select_option("other")
    expect(app.get_by_label("Sharpness")).to_have_count(1)
    expect(app.get_by_label("Sharpness")).to_be_hidden()
    expect(app.get_by_role("button", name="Add a LoRA")).to_be_hidden()
    expect(app.get_by_label("Guidance scale")).to_be_visible()
    with app.expect_request("**/v1/engine/generate/") as request:
        generate(app)
    body = sent(request.value)
    assert body == {"guidance_scale": 3, "base_model_name": "other", "async_process": True}
    app.get_by_label("Base model", exact=True).select_option("embedded")
    expect(app.get_by_label("Sharpness")).to_be_visible()
