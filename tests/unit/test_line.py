"""The line of waiting tasks: priorities, moves, and that both go on to agree."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipeline.request.schema import GenerateParams
from pipeline.scheduling.queue import MAX_PRIORITY, MIN_PRIORITY, Line
from pipeline.scheduling.task import Task


def task(task_id: str) -> Task:
    return Task(task_id=task_id, params=GenerateParams(), in_queue_mills=0)


def line_of(*ids: str) -> Line:
    line = Line()
    for task_id in ids:
        line.add(task(task_id))
    return line


def order(line: Line) -> str:
    return "".join(entry.task.task_id for entry in line.entries())


def test_who_comes_first_runs_first_and_a_higher_priority_before_that() -> None:
    line = line_of("a", "b", "c")
    line.add(task("d"), 5)
    line.add(task("e"), 5)
    line.add(task("f"), -1)
    assert order(line) == "deabcf"
    assert line.take().task.task_id == "d"
    assert order(line) == "eabcf"


def test_a_task_can_be_moved_to_any_place_and_beyond_the_end() -> None:
    line = line_of("a", "b", "c")
    assert line.move("c", 0)
    assert order(line) == "cab"
    assert line.move("c", 99)
    assert order(line) == "abc"
    assert not line.move("nobody", 0)


def test_a_moved_task_takes_the_priority_that_its_place_asks_for() -> None:
    line = line_of("a", "b")
    line.prioritise("b", 7)
    line.move("a", 0)
    assert [(e.task.task_id, e.priority) for e in line.entries()] == [("a", 7), ("b", 7)]


def test_a_withdrawn_task_is_gone_once() -> None:
    line = line_of("a", "b")
    assert line.withdraw("a") is not None
    assert line.withdraw("a") is None
    assert order(line) == "b"


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-2, 7), st.booleans()), max_size=30))
def test_priorities_never_rise_along_the_line(steps: list[tuple[int, int, bool]]) -> None:
    line = line_of(*"abcdef")
    for index, value, is_move in steps:
        name = "abcdef"[index]
        assert line.move(name, max(0, value)) if is_move else line.prioritise(name, value)
    entries = line.entries()
    assert sorted(order(line)) == list("abcdef")
    assert all(one.priority >= two.priority for one, two in pairwise(entries))
    assert all(MIN_PRIORITY <= entry.priority <= MAX_PRIORITY for entry in entries)
