"""The priority queue: places, priorities, moves, and the changes it reports."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bus.events import PlaceChange
from pipeline.request.delivery import Delivery
from pipeline.request.resolved import resolve_params
from pipeline.request.schema import GenerateParams
from pipeline.scheduling.queue import (
    MAX_PRIORITY,
    MIN_PRIORITY,
    PriorityQueue,
    Waiting,
    simplest_between,
)
from pipeline.scheduling.task import Task

REQUEST = resolve_params(GenerateParams())
priorities = st.integers(-3, 3)


def add(queue: PriorityQueue, task_id: str, priority: int = 0) -> int:
    task = Task(task_id=task_id, request=REQUEST, in_queue_mills=0)
    return queue.add(Waiting(task=task, priority=priority, order=queue.next_order))


def queue_of(ids: str) -> PriorityQueue:
    queue = PriorityQueue()
    for task_id in ids:
        add(queue, task_id)
    return queue


def order(queue: PriorityQueue) -> str:
    return "".join(entry.task.task_id for entry in queue.entries())


def apply(change: PlaceChange | None, ids: list[str]) -> None:
    """What ``docs/events.md`` tells clients to do with a change."""
    assert change is not None
    if change.before is not None:
        assert ids.pop(change.before) == change.task_id
    if change.after is not None:
        ids.insert(change.after, change.task_id)


def test_tasks_run_in_order_of_arrival_and_higher_priorities_before_lower_ones() -> None:
    queue = queue_of("abc")
    assert [add(queue, "d", 5), add(queue, "e", 5), add(queue, "f", -1)] == [0, 1, 5]
    assert order(queue) == "deabcf"
    assert queue.take().task.task_id == "d"
    assert order(queue) == "eabcf"


def test_a_task_can_be_moved_to_any_place_and_beyond_the_end() -> None:
    queue = queue_of("abc")
    assert queue.move("c", 0)
    assert order(queue) == "cab"
    assert queue.move("c", 99)
    assert order(queue) == "abc"
    assert not queue.move("nobody", 0)


def test_a_task_moved_to_the_end_still_runs_before_those_that_come_later() -> None:
    queue = queue_of("abc")
    queue.move("a", 2)
    add(queue, "d")
    assert order(queue) == "bcad"


def test_a_moved_task_takes_the_priority_that_its_place_asks_for() -> None:
    queue = queue_of("ab")
    queue.prioritise("b", 7)
    queue.move("a", 0)
    assert [(e.task.task_id, e.priority) for e in queue.entries()] == [("a", 7), ("b", 7)]


def test_a_withdrawn_task_is_gone_once() -> None:
    queue = queue_of("ab")
    assert queue.withdraw("a") is not None
    assert queue.withdraw("a") is None
    assert queue.get("a") is None
    assert order(queue) == "b"


def test_nothing_is_taken_from_an_empty_queue() -> None:
    with pytest.raises(IndexError):
        PriorityQueue().take()


def test_a_task_that_is_put_back_stands_where_it_stood() -> None:
    queue = queue_of("abc")
    queue.move("c", 0)
    queue.add(queue.take())
    assert order(queue) == "cab"


def test_an_order_that_is_taken_hides_no_task() -> None:
    queue = queue_of("ab")
    twin = queue.get("a")
    assert twin is not None
    task = Task(task_id="c", request=REQUEST, in_queue_mills=0)
    assert queue.add(Waiting(task=task, order=twin.order)) == 2
    assert order(queue) == "abc"


def test_a_page_of_the_queue() -> None:
    queue = queue_of("abcdef")
    assert [entry.task.task_id for entry in queue.entries(2, 3)] == ["c", "d", "e"]
    assert [entry.task.task_id for entry in queue.entries(5, 3)] == ["f"]
    assert queue.entries(6, 3) == ()


@pytest.mark.parametrize("place", [0, 1, 500, 998, 999])
def test_orders_stay_short_however_often_tasks_are_moved_to_one_place(place: int) -> None:
    queue = PriorityQueue()
    for number in range(1000):
        add(queue, str(number))
    for number in range(1000):
        queue.move(str(number * 7 % 1000), place)
    digits = max(len(str(entry.order)) for entry in queue.entries())
    assert digits < 100  # the middle of the neighbours would have 600


@given(st.fractions(), st.fractions())
def test_the_simplest_fraction_between_two_others(one: Fraction, other: Fraction) -> None:
    low, high = sorted((one, other))
    if low == high:
        return
    found = simplest_between(low, high)
    assert low < found < high
    for denominator in range(1, min(found.denominator, 50)):  # no smaller one lies in between
        assert Fraction(low * denominator // 1 + 1, denominator) >= high


class AgainstAList(RuleBasedStateMachine):
    """The queue beside a plain list of [id, priority], and a client that hears of each change."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = PriorityQueue(revision=7)
        self.model: list[tuple[str, int]] = []
        self.client: list[str] = []
        self.steps = 7
        self.names = 0

    @rule(priority=priorities)
    def add(self, priority: int) -> None:
        self.names += 1
        place = sum(other >= priority for _, other in self.model)
        assert add(self.queue, str(self.names), priority) == place
        self.model.insert(place, (str(self.names), priority))
        self.heard()

    @precondition(lambda self: self.model)
    @rule()
    def take(self) -> None:
        entry = self.queue.take()
        assert (entry.task.task_id, entry.priority) == self.model.pop(0)
        self.heard()

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        name, _ = self.pick(data)
        assert self.queue.withdraw(name) is not None
        self.heard()

    @precondition(lambda self: self.model)
    @rule(data=st.data(), place=st.integers(0, 12))
    def move(self, data: st.DataObject, place: int) -> None:
        name, priority = self.pick(data)
        place = min(place, len(self.model))
        above = self.model[place - 1][1] if place else MAX_PRIORITY
        below = self.model[place][1] if place < len(self.model) else MIN_PRIORITY
        self.model.insert(place, (name, max(below, min(above, priority))))
        assert self.queue.move(name, place) is not None
        self.heard()

    @precondition(lambda self: self.model)
    @rule(data=st.data(), priority=priorities)
    def prioritise(self, data: st.DataObject, priority: int) -> None:
        name, _ = self.pick(data)
        place = sum(other >= priority for _, other in self.model)
        self.model.insert(place, (name, priority))
        assert self.queue.prioritise(name, priority) is not None
        self.heard()

    def pick(self, data: st.DataObject) -> tuple[str, int]:
        return self.model.pop(data.draw(st.integers(0, len(self.model) - 1)))

    def heard(self) -> None:
        self.steps += 1
        assert self.queue.revision == self.steps
        apply(self.queue.last_change, self.client)

    @invariant()
    def both_agree(self) -> None:
        entries = self.queue.entries()
        assert [(entry.task.task_id, entry.priority) for entry in entries] == self.model
        assert self.client == [name for name, _ in self.model]
        assert len(self.queue) == len(self.model)
        for place, (name, _) in enumerate(self.model):
            assert self.queue.place(name) == place
        keys = [(-entry.priority, entry.order) for entry in entries]
        assert all(one < two for one, two in pairwise(keys))


TestAgainstAList = AgainstAList.TestCase
TestAgainstAList.settings = settings(max_examples=40)


def add_for(queue: PriorityQueue, task_id: str, key: str) -> int:
    delivery = Delivery(key=key)
    task = Task(task_id=task_id, request=REQUEST, in_queue_mills=0, delivery=delivery)
    order_of = queue.fair_order(key, queue.next_order)
    return queue.add(Waiting(task=task, order=order_of))


def test_keys_take_turns_however_many_tasks_each_has() -> None:
    queue = PriorityQueue()
    for task_id in "abcd":
        add_for(queue, task_id, "A")
    assert [add_for(queue, task_id, "B") for task_id in "uv"] == [1, 3]
    assert add_for(queue, "x", "C") == 2
    assert order(queue) == "auxbvcd"
    assert add_for(queue, "e", "A") == 7


def test_tasks_of_one_key_run_in_order_of_arrival_as_whole_numbers() -> None:
    queue = PriorityQueue()
    for task_id in "abcd":
        add_for(queue, task_id, "A")
    assert order(queue) == "abcd"
    assert [entry.order for entry in queue.entries()] == [1, 2, 3, 4]


def test_turns_are_taken_within_a_priority() -> None:
    queue = PriorityQueue()
    for task_id in "abc":
        add_for(queue, task_id, "A")
    queue.prioritise("c", 5)
    assert add_for(queue, "u", "B") == 2
    assert order(queue) == "caub"


def test_a_key_that_may_not_run_is_passed_over() -> None:
    queue = PriorityQueue()
    for task_id, key in zip("abu", "AAB", strict=True):
        add_for(queue, task_id, key)
    assert queue.take(lambda key: key != "A").task.task_id == "u"
    with pytest.raises(IndexError):
        queue.take(lambda key: key != "A")
    assert queue.take().task.task_id == "a"
    assert (queue.count_of("A"), queue.count_of("B")) == (1, 0)


@given(st.lists(st.sampled_from("ABC"), max_size=30))
def test_no_key_is_ever_two_tasks_ahead_of_another_that_waits(keys: list[str]) -> None:
    queue = PriorityQueue()
    for number, key in enumerate(keys):
        add_for(queue, str(number), key)
    taken: dict[str, int] = dict.fromkeys("ABC", 0)
    for entry in queue.entries():
        key = entry.task.delivery.key
        taken[key] += 1
        others = [taken[each] for each in taken if keys.count(each) > taken[each]]
        assert all(taken[key] - other <= 1 for other in others)
