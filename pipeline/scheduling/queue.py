"""The waiting tasks in the order they will run. Knows no event loop and no device."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Final

import msgspec
from sortedcontainers import SortedKeyList, SortedList

from bus.events import PlaceChange
from pipeline.scheduling.task import Task

MIN_PRIORITY: Final = -100
MAX_PRIORITY: Final = 100

_Order = Fraction | int
_Key = tuple[int, _Order]


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A waiting task and its sort key: higher priorities first, then smaller orders.

    ``order`` is a whole number that grows with each task, such as its row's id. A moved task gets
    a fraction between the orders of its new neighbours, so a move changes no other task.
    """

    task: Task
    priority: int = 0
    order: Fraction


class PriorityQueue:
    """Waiting tasks by place and by id, in O(log n) each. Belongs to one thread.

    Tasks of one priority run in the order they were added. A moved task takes the nearest
    priority that its new place allows, so that priorities never rise along the queue.

    ``revision`` grows by one with each change of who waits where; ``last_change`` is the change
    that led to it. The first revision is the caller's choice.
    """

    def __init__(self, revision: int = 0) -> None:
        self.revision = revision
        self.last_change: PlaceChange | None = None
        self._by_id: dict[str, Waiting] = {}
        self._ordered: SortedKeyList[Waiting, _Key] = SortedKeyList(key=_key)
        self._by_key: dict[tuple[int, str], SortedList[_Key]] = {}  # by priority and API key
        self._newest = 0  # the largest whole order so far

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def next_order(self) -> Fraction:
        """Behind every task of the same priority, moved ones included."""
        return Fraction(self._newest + 1)

    def add(self, entry: Waiting) -> int:
        """Add a task that does not wait yet and return its place.

        An order that is taken already counts as ``next_order``.
        """
        place = self._place_of(entry)
        if place < len(self) and _key(self._at(place)) == _key(entry):
            entry = msgspec.structs.replace(entry, order=self.next_order)
            place = self._place_of(entry)
        self._insert(entry)
        self._changed(entry, None, place)
        return place

    def take(self, may_run: Callable[[str], bool] = lambda _: True) -> Waiting:
        """Remove the next task whose key ``may_run``. Raises IndexError if there is none."""
        firsts = [orders[0] for (_, key), orders in self._by_key.items() if may_run(key)]
        if not firsts:
            raise IndexError("no task may run")
        place = self._ordered.bisect_key_left(min(firsts))
        entry = self._remove(place)
        self._changed(entry, place, None)
        return entry

    def fair_order(self, key: str, order: Fraction) -> Fraction:
        """The order of a new task of priority 0, so that keys take turns: ``order`` if it is alone.

        A key's n-th waiting task goes behind the n-th of every other key, and before their next.
        """
        own = len(self._by_key.get((0, key), ()))
        later = [
            orders[own + 1]
            for (priority, other), orders in self._by_key.items()
            if priority == 0 and other != key and len(orders) > own + 1
        ]
        if not later:
            return order
        high = min(later)
        place = self._ordered.bisect_key_left(high)
        above = self._at(place - 1)  # its key's task before that one is there
        return _order_between(above.order if above.priority == 0 else None, high[1], order)

    def count_of(self, key: str) -> int:
        """How many tasks of a key wait."""
        return sum(len(orders) for (_, each), orders in self._by_key.items() if each == key)

    def withdraw(self, task_id: str) -> Waiting | None:
        """Remove a task; None if it does not wait (any more)."""
        place = self.place(task_id)
        if place is None:
            return None
        entry = self._remove(place)
        self._changed(entry, place, None)
        return entry

    def move(self, task_id: str, place: int) -> Waiting | None:
        """Put a task behind ``place`` others, or at the end. None if it does not wait.

        Its priority is clamped to those of its new neighbours.
        """
        before = self.place(task_id)
        if before is None:
            return None
        entry = self._remove(before)
        after = max(0, min(place, len(self)))
        above = self._at(after - 1) if after > 0 else None
        below = self._at(after) if after < len(self) else None
        return self._put_between(entry, above, below, before)

    def prioritise(self, task_id: str, priority: int) -> Waiting | None:
        """Put a task behind all others of ``priority``. None if it does not wait."""
        before = self.place(task_id)
        if before is None:
            return None
        entry = msgspec.structs.replace(self._remove(before), priority=priority)
        end = self._ordered.bisect_key_right((-priority, self._newest + 1))
        above = self._at(end - 1) if end > 0 else None
        below = self._at(end) if end < len(self) else None
        return self._put_between(entry, above, below, before)

    def put_back(self, entry: Waiting) -> Waiting | None:
        """Give a task the priority and order it had before a move. None if it does not wait."""
        before = self.place(entry.task.task_id)
        if before is None:
            return None
        self._remove(before)
        self._insert(entry)
        self._changed(entry, before, self._place_of(entry))
        return entry

    def get(self, task_id: str) -> Waiting | None:
        """A task by its id; None if it does not wait."""
        return self._by_id.get(task_id)

    def place(self, task_id: str) -> int | None:
        """How many waiting tasks run before this one; None if it does not wait."""
        entry = self._by_id.get(task_id)
        return None if entry is None else self._place_of(entry)

    def entries(self, offset: int = 0, limit: int | None = None) -> tuple[Waiting, ...]:
        """``limit`` tasks (None: all) behind the first ``offset``, in the order they will run."""
        stop = None if limit is None else offset + limit
        return tuple(self._ordered.islice(offset, stop))

    def _at(self, place: int) -> Waiting:
        return self._ordered[place]

    def _place_of(self, entry: Waiting) -> int:
        return self._ordered.bisect_key_left(_key(entry))

    def _insert(self, entry: Waiting) -> None:
        self._ordered.add(entry)
        owner = (entry.priority, entry.task.delivery.key)
        self._by_key.setdefault(owner, SortedList()).add(_key(entry))
        self._by_id[entry.task.task_id] = entry
        self._newest = max(self._newest, math.floor(entry.order))

    def _remove(self, place: int) -> Waiting:
        entry = self._ordered.pop(place)
        del self._by_id[entry.task.task_id]
        owner = (entry.priority, entry.task.delivery.key)
        self._by_key[owner].remove(_key(entry))
        if not self._by_key[owner]:
            del self._by_key[owner]
        return entry

    def _put_between(
        self, entry: Waiting, above: Waiting | None, below: Waiting | None, before: int
    ) -> Waiting:
        """Insert a task that was at place ``before`` between two neighbours."""
        highest = above.priority if above else MAX_PRIORITY
        lowest = below.priority if below else MIN_PRIORITY
        priority = max(lowest, min(highest, entry.priority))
        low = above.order if above and above.priority == priority else None
        high = below.order if below and below.priority == priority else None
        order = _order_between(low, high, entry.order)
        entry = Waiting(task=entry.task, priority=priority, order=order)
        self._insert(entry)
        self._changed(entry, before, self._place_of(entry))
        return entry

    def _changed(self, entry: Waiting, before: int | None, after: int | None) -> None:
        self.revision += 1
        self.last_change = PlaceChange(task_id=entry.task.task_id, before=before, after=after)


def _key(entry: Waiting) -> _Key:
    """The sort key. Of a task that nobody moved it is of integers: fractions compare slowly."""
    order = entry.order
    return -entry.priority, order.numerator if order.denominator == 1 else order


def _order_between(low: Fraction | None, high: _Order | None, own: Fraction) -> Fraction:
    """An order above ``low`` and below ``high``, where they are given; ``own`` where neither is.

    Without ``high`` it stays below the next whole number, which is that of a task still to come.
    """
    if low is not None:
        return simplest_between(low, math.floor(low) + 1 if high is None else high)
    return own if high is None else Fraction(math.ceil(high) - 1)


def simplest_between(low: Fraction, high: _Order) -> Fraction:
    """The fraction of the smallest denominator in the open interval, which must not be empty.

    Walks the Stern-Brocot tree by continued fractions (Graham, Knuth and Patashnik, Concrete
    Mathematics, section 4.5). A midpoint would gain a bit with each move to the same place; this
    gains about as many as the count of such moves has digits.
    """
    (a, b), (c, d) = low.as_integer_ratio(), high.as_integer_ratio()
    p, q, previous_p, previous_q = 1, 0, 0, 1  # convergents of the common continued fraction
    while ((whole := a // b) + 1) * d >= c:
        p, previous_p = whole * p + previous_p, p
        q, previous_q = whole * q + previous_q, q
        a, b, c, d = d, c - whole * d, b, a - whole * b
    return Fraction((whole + 1) * p + previous_p, (whole + 1) * q + previous_q)
