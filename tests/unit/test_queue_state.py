"""The queue's order and pause, kept on disk."""

from pathlib import Path

from pipeline.scheduling.queue import Waiting
from storage.database import open_database
from storage.queue_state import QueueState
from tests.unit.test_history import make_task


async def test_an_order_survives_and_newcomers_stand_behind_it(tmp_path: Path) -> None:
    tasks = [make_task(name) for name in "abcd"]
    a, b, c, _ = tasks
    async with open_database(tmp_path / "db.sqlite3") as database:
        state = QueueState(database)
        assert [waiting.task.task_id for waiting in await state.arranged(tasks)] == list("abcd")
        await state.save_line([Waiting(task=c, priority=3), Waiting(task=a), Waiting(task=b)])
    async with open_database(tmp_path / "db.sqlite3") as database:
        arranged = await QueueState(database).arranged(tasks)
        assert [(w.task.task_id, w.priority) for w in arranged] == [
            ("c", 3),
            ("a", 0),
            ("b", 0),
            ("d", 0),
        ]


async def test_a_pause_is_remembered_until_it_is_taken_back(tmp_path: Path) -> None:
    async with open_database(tmp_path / "db.sqlite3") as database:
        state = QueueState(database)
        assert not await state.is_paused()
        await state.save_paused(True)
        assert await state.is_paused()
        await state.save_paused(False)
        assert not await state.is_paused()
