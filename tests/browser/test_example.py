"""The example page as a person uses it: by role and label."""

import re
from urllib.parse import urlsplit, urlunsplit

import pytest
from playwright.sync_api import Page, Route, expect

from tools.server_process import ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

TIMEOUT_MS = 90_000  # a loaded machine takes its time for a picture


def test_a_prompt_becomes_a_picture_with_progress_and_preview(page: Page) -> None:
    page.goto("/static/example.html")
    page.get_by_label("Prompt", exact=True).fill("a yellow star on a purple background")
    page.get_by_label("Seed").fill("9223372036854775807")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("status")).to_have_text(
        re.compile(r"Sampling step \d+/\d+, image 1/1"), timeout=TIMEOUT_MS
    )
    expect(page.get_by_role("img", name="Live preview")).to_be_visible(timeout=TIMEOUT_MS)
    expect(page.get_by_role("status")).to_have_text("Finished", timeout=TIMEOUT_MS)
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "100")
    picture = page.get_by_role("img", name="a yellow star on a purple background")
    expect(picture).to_be_visible()
    # The page's number is a JavaScript number, which cannot hold this seed; the request's text can.
    tasks = page.request.get("/tasks?query=history&page_size=1").json()
    assert tasks["history"][0]["req_params"]["image_seed"] == 2**63 - 1


def test_the_page_works_behind_a_path_prefix(page: Page) -> None:
    """As a proxy serves it that passes /focal/… on without the prefix."""
    astray: list[str] = []

    def proxy(route: Route) -> None:
        url = urlsplit(route.request.url)
        if not url.path.startswith("/focal/"):
            astray.append(url.path)
        path = url.path.removeprefix("/focal")
        route.continue_(url=urlunsplit(url._replace(path=path)))

    page.route("**/*", proxy)
    page.goto("/focal/static/example.html")
    expect(page.get_by_text("small demonstration model")).to_be_visible()
    page.get_by_label("Prompt", exact=True).fill("a green heart on a white background")
    page.get_by_label("Performance").select_option("Lightning")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("status")).to_have_text("Finished", timeout=TIMEOUT_MS)
    picture = page.get_by_role("img", name="a green heart on a white background")
    expect(picture).to_have_js_property("complete", True)
    assert picture.evaluate("image => image.naturalWidth") > 0
    stop = page.get_by_role("button", name="Stop")
    stop.evaluate("button => { button.disabled = false; }")
    with page.expect_request(re.compile(r"/focal/v1/engine/control\?action=stop")):
        stop.click()
    links = page.get_by_role("navigation").get_by_role("link")
    assert [link.evaluate("link => link.pathname") for link in links.all()] == [
        "/focal/docs",
        "/focal/health",
    ]
    assert astray == []


@pytest.mark.slow
def test_the_page_says_that_the_model_is_a_demonstration(page: Page) -> None:
    page.goto("/static/example.html")
    expect(page.get_by_text("small demonstration model")).to_be_visible()
    expect(page.get_by_text("models/checkpoints/")).to_be_visible()


def test_a_refused_request_says_why(page: Page) -> None:
    page.route(
        "**/v1/engine/generate/",
        lambda route: route.continue_(post_data='{"image_number": 99}'),
    )
    page.goto("/static/example.html")
    with page.expect_response("**/v1/engine/generate/") as response:
        page.get_by_role("button", name="Generate").click()
    assert response.value.status == 422
    expect(page.get_by_role("alert")).to_contain_text("image_number")


def test_a_running_task_can_be_stopped_from_the_page(
    page: Page, live_server: ServerProcess
) -> None:
    page.goto("/static/example.html")
    page.get_by_label("Performance").select_option("Quality")
    page.get_by_label("Images").fill("32")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("status")).to_contain_text("Sampling step", timeout=TIMEOUT_MS)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Generate")).to_be_enabled(timeout=TIMEOUT_MS)
    assert (
        live_server.get("/tasks?query=history&page_size=1")["history"][0]["task_status"] == "stop"
    )


@pytest.mark.slow
def test_the_page_takes_nothing_from_outside(page: Page, live_server: ServerProcess) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/")
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
    assert asked
    assert all(url.startswith(live_server.url) for url in asked)


@pytest.mark.slow
def test_a_phone_shows_the_whole_form(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 700})
    page.goto("/static/example.html")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 360
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
