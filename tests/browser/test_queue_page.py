"""The queue on its page: pause, order, priority, stop, try again."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.actions import visit, waiting
from tools.server_process import ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


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
