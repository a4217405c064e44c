"""One use of a worker: by a task, or by several whose pictures it makes together."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from pipeline.errors import TaskAborted
from pipeline.scheduling.worker import Assignment, Failure, RunsTogether, Worker

End = asyncio.Future[Failure | None]
"""The end of a task's run on its worker."""

IsStopped = Callable[[], bool]
"""Whether the task was stopped. A worker cannot end one that it does not have yet."""


class Turn:
    """Hands tasks to a worker at once, when each of them is ready or has been withdrawn.

    Event loop only. ``leader`` is the task whose turn it is, by its id, and ``members`` how many
    share it. ``over`` is called when the last of them has left.
    """

    def __init__(self, worker: Worker, leader: str, members: int, over: Callable[[], None]) -> None:
        self.worker = worker
        self.leader = leader
        self._undecided = members
        self._members = members
        self._over = over
        self.together: list[tuple[Assignment, End, IsStopped]] = []
        self.alone: list[tuple[Assignment, End, IsStopped]] = []

    @contextmanager
    def place(self) -> Iterator["Place"]:
        """The place of one member, who takes it in this block or never will."""
        place = Place(self)
        try:
            yield place
        finally:
            self._undecided -= 1
            if not self._undecided:
                self._hand_over()

    def leave(self) -> None:
        """One member has ended."""
        self._members -= 1
        if not self._members:
            self._over()

    def _hand_over(self) -> None:
        worker = self.worker
        together, alone = _wanted(self.together), _wanted(self.alone)
        if len(together) > 1 and isinstance(worker, RunsTogether):
            futures = worker.run_together([assignment for assignment, _ in together])
            for (_, end), future in zip(together, futures, strict=True):
                _chain(future, end)
        else:
            alone = together + alone
        for assignment, end in alone:
            _chain(worker.run(*assignment), end)


class Place:
    """The place of one task in a turn."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    def take(self, assignment: Assignment, is_stopped: IsStopped, *, alone: bool = False) -> End:
        """Have the task run with the others, or ``alone`` after them; the end of its run.

        One that is stopped until the worker gets them never runs.
        """
        end: End = asyncio.get_running_loop().create_future()
        turn = self._turn
        (turn.alone if alone else turn.together).append((assignment, end, is_stopped))
        return end


def _wanted(taken: list[tuple[Assignment, End, IsStopped]]) -> list[tuple[Assignment, End]]:
    """Those that are to run still; ends those that were stopped."""
    wanted = []
    for assignment, end, is_stopped in taken:
        if end.done():  # cancelled
            continue
        if is_stopped():
            end.set_result(Failure(code=TaskAborted.code, text=""))
        else:
            wanted.append((assignment, end))
    return wanted


def _chain(future: Future[Failure | None], end: End) -> None:
    """Pass on what a worker's future becomes, unless nobody waits any more."""

    def pass_on(done: asyncio.Future[Failure | None]) -> None:
        if end.done():
            return
        if done.cancelled():
            end.cancel()
        elif (error := done.exception()) is not None:
            end.set_exception(error)
        else:
            end.set_result(done.result())

    asyncio.wrap_future(future).add_done_callback(pass_on)
