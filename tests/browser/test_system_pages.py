"""The pages of models and of the server."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.actions import visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


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
