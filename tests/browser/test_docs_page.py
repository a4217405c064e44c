"""The page /docs: two languages, two colour schemes, nothing from outside."""

import pytest
from playwright.sync_api import FilePayload, Page, expect

from tests.integration.test_input_images import grey
from tools.server_process import ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


def test_the_docs_are_read_in_chinese_and_the_choice_is_kept(app: Page) -> None:
    app.goto("/docs")
    expect(app.get_by_text("Make pictures", exact=True)).to_be_visible()
    app.get_by_label("Language", exact=True).select_option("中文")
    expect(app.get_by_text("生成图片", exact=True)).to_be_visible()
    app.reload()
    app.get_by_text("/v1/engine/generate/", exact=True).click()
    expect(app.get_by_role("button", name="发送")).to_be_visible()
    # A field of the request, one of a struct in it, and an answer.
    expect(app.get_by_text("要生成的图片数量。")).to_be_visible()
    expect(app.get_by_text("LoRA 的强度。")).to_be_visible()
    expect(app.get_by_role("cell", name="任务失败")).to_be_visible()


def test_the_pages_and_the_docs_agree_on_the_language(app: Page) -> None:
    app.goto("/")
    app.get_by_label("Language").select_option("中文")
    app.get_by_role("link", name="API 文档").click()
    expect(app.get_by_text("生成图片", exact=True)).to_be_visible()


def test_the_example_for_a_picture_asks_for_one_and_shows_it(app: Page) -> None:
    app.goto("/docs")
    app.get_by_text("/v1/engine/generate/", exact=True).click()
    part = app.get_by_role("group").filter(has_text="/v1/engine/generate/")
    part.get_by_role("button", name="picture", exact=True).click()
    expect(part.get_by_label("Example", exact=True)).to_contain_text("Accept: image/png")
    part.get_by_role("button", name="Send").click()
    expect(part.get_by_role("img", name="The picture in the answer")).to_be_visible()
    part.get_by_role("button", name="stream", exact=True).click()
    expect(part.get_by_label("Example", exact=True)).not_to_contain_text("Accept")
    part.get_by_role("button", name="Send").click()
    expect(part.get_by_text('"message":"Finished"')).to_be_visible()


@pytest.mark.slow
def test_the_docs_take_nothing_from_outside(app: Page, painted: ServerProcess) -> None:
    asked: list[str] = []
    app.on("request", lambda request: asked.append(request.url))
    app.goto("/docs")
    app.get_by_label("Language", exact=True).select_option("中文")
    expect(app.get_by_text("生成图片", exact=True)).to_be_visible()
    assert asked
    assert all(url.startswith(painted.url) for url in asked)


@pytest.mark.slow
def test_the_docs_are_dark_where_that_is_wanted(app: Page) -> None:
    app.goto("/docs")
    shades = []
    for scheme in ("light", "dark"):
        app.emulate_media(color_scheme=scheme)
        shades.append(app.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert shades[0] != shades[1]


@pytest.mark.slow
def test_a_chinese_browser_gets_chinese_docs_on_a_phone(app: Page, painted: ServerProcess) -> None:
    browser = app.context.browser
    assert browser is not None
    size = {"width": 360, "height": 700}
    context = browser.new_context(base_url=painted.url, viewport=size, locale="zh-CN")  # type: ignore[arg-type]
    opened = context.new_page()
    opened.goto("/docs")
    expect(opened.get_by_text("生成图片", exact=True)).to_be_visible()
    opened.get_by_text("/v1/engine/generate/", exact=True).click()
    expect(opened.get_by_role("button", name="发送")).to_be_visible()
    assert opened.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()


def test_the_docs_show_examples_and_send_a_request(app: Page) -> None:
    app.goto("/docs")
    app.get_by_text("/v1/history/summary").click()
    part = app.get_by_role("group").filter(has_text="/v1/history/summary")
    for language in ("curl", "Python", "JavaScript"):
        expect(part.get_by_text(language, exact=True)).to_be_visible()
    part.get_by_role("button", name="Send").click()
    expect(part.get_by_text('"statuses"')).to_be_visible()


def test_a_form_with_a_file_is_tried_like_any_other_request(app: Page) -> None:
    app.goto("/docs")
    app.locator("#store_input summary").click()
    part = app.get_by_role("form", name="Try POST /inputs")
    picture = FilePayload(name="a picture.png", mimeType="image/png", buffer=grey())
    part.get_by_label("image").set_input_files([picture])
    section = app.locator("#store_input")
    expect(section.get_by_label("Example", exact=True)).to_contain_text("-F 'image=@a picture.png'")
    part.get_by_role("button", name="Send").click()
    expect(section.get_by_text('"path": "/inputs/')).to_be_visible()
