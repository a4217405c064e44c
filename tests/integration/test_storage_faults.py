"""Files that stay, a folder that goes, a disk without room, a locked database: nothing is lost."""

import asyncio
import errno
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path

import aiosqlite
import pytest

from bus.events import HistoryDeleted, ServerStatus, now_ms
from bus.subscription import EventFilter
from handlers.keys import BUS
from handlers.service_keys import DELETION
from storage.database import Database, open_database
from storage.limits import Limits
from storage.outputs import OutputStore
from tests.integration.serving import WAIT_S, Focal, serve

LONG_AGO = "2000-01-01"


class Stuck:
    """Pictures that cannot be removed, as one that another program holds open on some systems."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: set[str] = set()
        remove = OutputStore.delete

        def delete(store: OutputStore, path: str) -> None:
            if path in self.paths:
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
            remove(store, path)

        monkeypatch.setattr(OutputStore, "delete", delete)

    def hold(self, record: dict[str, list[str]]) -> None:
        """Have the first picture of a task stay."""
        self.paths.add("/outputs/" + record["result"][0].partition("/outputs/")[2])


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Stuck:
    return Stuck(monkeypatch)


async def listed(focal: Focal) -> list[str]:
    history = (await focal.get("/tasks", query="history"))["history"]
    return [task["task_id"] for task in history]


async def test_a_picture_that_stays_keeps_only_its_own_task(focal: Focal, stuck: Stuck) -> None:
    records = [await focal.generate({}) for _ in range(3)]
    ids = [record["task_id"] for record in records]
    stuck.hold(records[2])
    chosen = EventFilter(types=frozenset({HistoryDeleted.type}))
    with focal.app[BUS].subscribe(chosen) as news:
        reply = await focal.get("/tasks", start_at=LONG_AGO, action="delete")
        told = await asyncio.wait_for(anext(news), WAIT_S)
    assert {task["task_id"] for task in reply["history"]} == set(ids[:2])
    assert [task["task_id"] for task in reply["left"]] == ids[2:]
    assert "not permitted" in reply["left"][0]["error"]
    assert isinstance(told.data, HistoryDeleted)
    assert (set(told.data.task_ids), told.data.left) == (set(ids[:2]), (ids[2],))
    assert await listed(focal) == ids[2:]
    assert len(focal.files()) == 1
    stuck.paths.clear()
    reply = await focal.get("/tasks", start_at=LONG_AGO, action="delete")
    assert "left" not in reply
    assert (await listed(focal), focal.files()) == ([], [])


def rows_need_room(focal: Focal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database has room for a change once there are fewer pictures than now."""
    begin, pictures = Database.transaction, len(focal.files())

    @asynccontextmanager
    async def transaction(
        database: Database, wait_s: float | None = None
    ) -> AsyncIterator[aiosqlite.Connection]:
        if len(focal.files()) >= pictures:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        async with begin(database, wait_s) as connection:
            yield connection

    monkeypatch.setattr(Database, "transaction", transaction)


async def test_deleting_works_without_room_for_a_row(
    focal: Focal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await focal.generate({})
    rows_need_room(focal, monkeypatch)
    reply = await focal.get("/tasks", start_at=LONG_AGO, action="delete")
    assert len(reply["history"]) == 1
    assert (await listed(focal), focal.files()) == ([], [])


@pytest.mark.parametrize("limits", [Limits(tasks=1), Limits(bytes=1), Limits(seconds=1e-9)])
async def test_the_limits_make_room_without_room_for_a_row(
    focal: Focal, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    deletion = focal.app[DELETION]
    records = [await focal.generate({}) for _ in range(2)]
    later = now_ms() + 1000
    await deletion.tidy(Limits(bytes=2**40), later)  # measures them
    records.append(await focal.generate({}))  # which no round has measured
    rows_need_room(focal, monkeypatch)
    kept = [records[-1]["task_id"]] if limits.tasks else []
    assert await deletion.tidy(limits, later) == len(records) - len(kept)
    assert (await listed(focal), len(focal.files())) == (kept, len(kept))


async def test_a_deletion_that_can_be_undone_waits_for_room(
    focal: Focal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files stay until then, so only its row could make room."""
    record = await focal.generate({})
    path = f"/tasks/{record['task_id']}/delete"
    with monkeypatch.context() as patch:
        rows_need_room(focal, patch)
        async with focal.session.post(path) as answer:
            assert (answer.status, (await answer.json())["code"]) == (507, "disk_full")
        assert await listed(focal) == [record["task_id"]]
    async with focal.session.post(path) as answer:
        assert answer.status == 200
    assert await listed(focal) == []


@pytest.mark.parametrize("limits", [Limits(tasks=1), Limits(bytes=100), Limits(seconds=1e-9)])
async def test_limits_go_on_behind_a_picture_that_stays(
    focal: Focal, stuck: Stuck, limits: Limits
) -> None:
    records = [await focal.generate({}) for _ in range(4)]
    stuck.hold(records[0])
    kept = 0 if limits.seconds else 1
    if limits.bytes:  # room for one picture, of whichever task
        sizes = [(focal.folder / picture).stat().st_size for picture in focal.files()]
        limits = Limits(bytes=max(sizes))
    deletion = focal.app[DELETION]
    later = now_ms() + 1000
    assert await deletion.tidy(limits, later) == 3 - kept
    assert (await listed(focal))[-1] == records[0]["task_id"]
    assert len(focal.files()) == 1 + kept
    stuck.paths.clear()
    assert await deletion.tidy(limits, later) == 1
    assert len(focal.files()) == kept


async def test_a_deleted_task_waits_in_the_trash_until_its_picture_can_go(
    focal: Focal, stuck: Stuck
) -> None:
    first, second = [await focal.generate({}) for _ in range(2)]
    stuck.hold(first)
    for record in (first, second):
        await focal.session.post(f"/tasks/{record['task_id']}/delete")
    over = now_ms() + 61_000
    assert await focal.app[DELETION].empty_trash(over) == 1
    assert (await listed(focal), len(focal.files())) == ([], 1)
    stuck.paths.clear()
    assert await focal.app[DELETION].empty_trash(over) == 1
    assert focal.files() == []


async def test_a_deletion_that_a_crash_cut_short_is_finished_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(tmp_path) as first:
        await first.generate({})

        def crash(_store: OutputStore, _path: str) -> None:
            raise MemoryError

        with monkeypatch.context() as patch:
            patch.setattr(OutputStore, "delete", crash)
            await first.get("/tasks", 500, start_at=LONG_AGO, action="delete")
        assert len(first.files()) == 1
    async with serve(tmp_path) as second:
        await second.app[DELETION].empty_trash(now_ms())
        assert (await listed(second), second.files()) == ([], [])


async def told_status(focal: Focal, wanted: str) -> ServerStatus:
    """Wait until the server tells this status of itself."""
    with focal.app[BUS].subscribe(
        EventFilter(types=frozenset({ServerStatus.type})), since=0
    ) as news:
        async with asyncio.timeout(WAIT_S):
            async for event in news:
                if isinstance(event.data, ServerStatus) and event.data.status == wanted:
                    return event.data
    raise AssertionError(wanted)


@pytest.mark.parametrize("replaced", [False, True])
async def test_an_outputs_folder_that_goes_is_noticed_and_one_that_is_back_is_used(
    focal: Focal, replaced: bool
) -> None:
    await focal.generate({})
    focal.device.gate.clear()
    running = await focal.queue(prompt="a cat")
    await focal.started()
    outputs, aside = focal.folder / "outputs", focal.folder / "aside"
    outputs.rename(aside)
    if replaced:
        shutil.copytree(aside, outputs)
    refused = await focal.generate({}, status=503)
    assert refused["code"] == "outputs_missing"
    health = await focal.get("/health")
    assert (health["status"], health["ready"]) == ("degraded", False)
    assert "outputs folder" in health["detail"]
    assert "outputs folder" in (await told_status(focal, "degraded")).detail
    focal.device.gate.set()
    record = await focal.ended(running)
    assert (record["task_status"], record["code"]) == ("failed", "outputs_missing")
    if replaced:
        shutil.rmtree(outputs)
    aside.rename(outputs)
    await focal.generate({})
    assert (await focal.get("/health"))["status"] == "ready"


async def test_a_folder_that_goes_after_the_picture_was_saved_ends_no_task_as_finished(
    focal: Focal, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = OutputStore.save

    def save_and_lose(store: OutputStore, *made: object, **named: object) -> str:
        path = save(store, *made, **named)  # type: ignore[arg-type]
        shutil.rmtree(focal.folder / "outputs")
        return path

    monkeypatch.setattr(OutputStore, "save", save_and_lose)
    record = await focal.generate({"async_process": True})
    record = await focal.ended(record["task_id"])
    assert (record["task_status"], record["code"]) == ("failed", "outputs_missing")


async def test_a_database_that_was_replaced_is_noticed(focal: Focal) -> None:
    path = focal.folder / "outputs" / "db.sqlite3"
    path.rename(path.with_name("old"))
    shutil.copyfile(path.with_name("old"), path)
    assert (await focal.generate({}, status=503))["code"] == "outputs_missing"


@contextmanager
def no_room(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every file that is written finds the disk full, whatever the system says is free."""
    with monkeypatch.context() as patch:

        def refuse(*_file: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr("storage.files.os.fsync", refuse)
        yield


async def test_a_disk_without_room_fails_what_runs_refuses_what_comes_and_recovers(
    focal: Focal, monkeypatch: pytest.MonkeyPatch
) -> None:
    focal.device.gate.clear()
    running = await focal.queue(prompt="a cat")
    await focal.started()
    with no_room(monkeypatch):
        focal.device.gate.set()
        record = await focal.ended(running)
        assert (record["task_status"], record["code"]) == ("failed", "disk_full")
        assert (await focal.generate({}, status=507))["code"] == "disk_full"
        health = await focal.get("/health")
        assert (health["status"], health["ready"]) == ("degraded", False)
        assert "full" in health["detail"]
    assert (await focal.generate({}))["task_status"] == "finished"
    assert (await focal.get("/health"))["status"] == "ready"


async def test_a_database_that_another_process_holds_is_worth_a_second_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.repositories.open_database", partial(open_database, busy_s=0.05))
    async with serve(tmp_path) as focal:
        done = await focal.generate({})
        with closing(sqlite3.connect(tmp_path / "outputs/db.sqlite3")) as other:
            other.execute("BEGIN IMMEDIATE")
            for path in ("/v1/engine/generate/", f"/tasks/{done['task_id']}/delete"):
                async with focal.session.post(path, json={}) as answer:
                    assert answer.status == 503
                    assert int(answer.headers["Retry-After"]) > 0
                    assert (await answer.json())["code"] == "database_locked"
        assert (await focal.generate({}))["task_status"] == "finished"
