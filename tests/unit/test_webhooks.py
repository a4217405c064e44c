"""Webhooks and the recorder: owed with the row, tried again, delivered after a restart, signed."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiosqlite
import msgspec
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from standardwebhooks import Webhook

from bus.events import now_ms
from bus.supervision import Backoff, Supervisor
from pipeline.errors import ModelNotFound
from pipeline.request.decode import GenerateParams
from pipeline.request.delivery import Delivery, GenerateRequest
from pipeline.request.resolved import ResolvedRequest, resolve_params
from pipeline.scheduling.task import Outcome, Task
from storage.database import Database, open_database
from storage.fetch import GuardedClient
from storage.history import HistoryRepository
from storage.outbox import Outbox
from storage.recorder import Recorder
from storage.unwritten import Journal, UnwrittenEnds
from storage.webhooks import PER_HOST, WebhookSender, signing_key

NO_PAUSES = (0.0, 0.0, 0.0, 0.0)
DONE = Outcome(status="finished", images=("/outputs/d/a.png",), started_mills=2, finished_mills=3)


class Receiver:
    """A webhook receiver that answers with the given statuses, then with 200."""

    def __init__(self) -> None:
        self.url = ""
        self.statuses: list[int] = []
        self.retry_after = ""
        self.received: asyncio.Queue[tuple[bytes, dict[str, str]]] = asyncio.Queue()

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.received.put_nowait((body, {k.lower(): v for k, v in request.headers.items()}))
        headers = {"Retry-After": self.retry_after} if self.retry_after else None
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200, headers=headers)

    async def next(self) -> tuple[dict[str, object], dict[str, str]]:
        async with asyncio.timeout(5):
            body, headers = await self.received.get()
        return msgspec.json.decode(body), headers


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.handle)
    async with TestServer(app) as server:
        receiver.url = str(server.make_url("/hook"))
        yield receiver


@pytest_asyncio.fixture
async def client() -> AsyncIterator[GuardedClient]:
    async with GuardedClient(allow_private=True, seconds=5) as client:
        yield client


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "db.sqlite3") as database:
        yield database


def make_task(task_id: str, webhook_url: str) -> Task:
    return Task(
        task_id=task_id,
        request=resolve_params(GenerateParams(prompt="a cat", image_seed=7)),
        in_queue_mills=1,
        delivery=Delivery(webhook_url=webhook_url, base_url="http://here:1"),
    )


class Post(WebhookSender):
    """A sender with an outbox of its own, and pauses that no test waits for."""

    def __init__(
        self,
        database: Database,
        client: GuardedClient,
        secret: str = "",
        pauses: tuple[float, ...] = NO_PAUSES,
    ) -> None:
        self.outbox = Outbox(database)
        super().__init__(self.outbox, HistoryRepository(database), client, secret, pauses)


def recorder_of(database: Database, outbox: Outbox) -> Recorder:
    unwritten = UnwrittenEnds()
    history = HistoryRepository(database, unwritten)
    return Recorder(database, history, outbox, unwritten, Journal(Path("/nowhere/journal")))


async def end_task(database: Database, sender: Post, task: Task) -> None:
    await HistoryRepository(database).add_queued(task)
    await recorder_of(database, sender.outbox).on_ended(task, DONE)


async def owed(database: Database) -> list[str]:
    rows = await database.fetch_all("SELECT task_id FROM webhook_delivery ORDER BY task_id", {})
    return [row[0] for row in rows]


async def settled(database: Database) -> None:
    async with asyncio.timeout(5):
        while await owed(database):  # each look is a turn of the database's own thread
            pass


async def test_an_ended_task_is_posted_once_as_its_record_with_whole_urls(
    database: Database, client: GuardedClient, receiver: Receiver
) -> None:
    task = make_task("a", receiver.url)
    async with Post(database, client) as sender:
        await end_task(database, sender, task)
        record, headers = await receiver.next()
        await settled(database)
        await recorder_of(database, sender.outbox).on_ended(task, DONE)
        assert await owed(database) == []
    assert record["task_id"] == headers["webhook-id"] == "a"
    assert record["task_status"] == "finished"
    assert record["result"] == ["http://here:1/outputs/d/a.png"]
    assert receiver.received.empty()


async def test_a_failing_receiver_is_tried_five_times_and_no_more(
    database: Database, client: GuardedClient, receiver: Receiver
) -> None:
    receiver.statuses = [500, 502, 503, 504, 500, 500, 500]
    async with Post(database, client) as sender:
        await end_task(database, sender, make_task("a", receiver.url))
        for _ in range(5):
            await receiver.next()
        await settled(database)
    assert receiver.received.empty()


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_a_receiver_that_is_busy_is_asked_again(
    database: Database, client: GuardedClient, receiver: Receiver, status: int
) -> None:
    receiver.statuses = [status, 200]
    async with Post(database, client) as sender:
        await end_task(database, sender, make_task("a", receiver.url))
        await receiver.next()
        await receiver.next()
        await settled(database)


@pytest.mark.parametrize(("asked", "seconds"), [("120", 120), ("999999", 3600)])
async def test_a_receiver_says_when_to_ask_again(
    database: Database, client: GuardedClient, receiver: Receiver, asked: str, seconds: int
) -> None:
    receiver.statuses, receiver.retry_after = [429], asked
    before = now_ms()
    async with Post(database, client) as sender:
        await end_task(database, sender, make_task("a", receiver.url))
        await receiver.next()
        async with asyncio.timeout(5):
            while (next_mills := await next_try(database)) < before + seconds * 1000:
                pass
        assert next_mills <= now_ms() + seconds * 1000
    assert receiver.received.empty()


async def next_try(database: Database) -> int:
    row = await database.fetch_one("SELECT next_mills FROM webhook_delivery", {})
    return int(row[0]) if row else 0


async def test_any_number_of_webhooks_to_one_slow_receiver_delay_no_other(
    database: Database, client: GuardedClient, receiver: Receiver
) -> None:
    writers: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    silent_url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/"
    async with Post(database, client) as sender:
        for number in range(40):
            await end_task(database, sender, make_task(f"slow {number}", silent_url))
        await end_task(database, sender, make_task("good", receiver.url))
        assert (await receiver.next())[0]["task_id"] == "good"
        assert len(writers) == PER_HOST
    for writer in writers:
        writer.close()
    silent.close()


async def test_a_receiver_that_recovers_gets_its_webhook(
    database: Database, client: GuardedClient, receiver: Receiver
) -> None:
    receiver.statuses = [500, 200]
    async with Post(database, client) as sender:
        await end_task(database, sender, make_task("a", receiver.url))
        assert (await receiver.next())[0] == (await receiver.next())[0]
        await settled(database)


@pytest.mark.parametrize("status", [302, 400, 404, 410])
async def test_a_receiver_that_refuses_is_not_asked_again(
    database: Database, client: GuardedClient, receiver: Receiver, status: int
) -> None:
    receiver.statuses = [status]
    async with Post(database, client) as sender:
        await end_task(database, sender, make_task("a", receiver.url))
        await receiver.next()
        await settled(database)
    assert receiver.received.empty()


async def test_a_webhook_to_a_private_address_is_given_up_at_once(
    database: Database, receiver: Receiver
) -> None:
    async with (
        GuardedClient(seconds=5) as guarded,
        Post(database, guarded) as sender,
    ):
        await end_task(database, sender, make_task("a", receiver.url))
        await settled(database)
    assert receiver.received.empty()


async def test_what_was_owed_is_delivered_after_a_restart(
    tmp_path: Path, client: GuardedClient, receiver: Receiver
) -> None:
    path = tmp_path / "other.sqlite3"
    async with open_database(path) as database:
        stopped = Post(database, client)
        await end_task(database, stopped, make_task("a", receiver.url))
        assert await owed(database) == ["a"]
    async with (
        open_database(path) as database,
        Post(database, client),
    ):
        assert (await receiver.next())[0]["task_id"] == "a"
        await settled(database)


async def test_a_receiver_that_hangs_does_not_hold_up_the_others(
    database: Database, client: GuardedClient, receiver: Receiver
) -> None:
    writers: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    silent_url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/"
    async with Post(database, client) as sender:
        await end_task(database, sender, make_task("hangs", silent_url))
        await end_task(database, sender, make_task("b", receiver.url))
        assert (await receiver.next())[0]["task_id"] == "b"
    assert await owed(database) in (["hangs"], ["b", "hangs"])
    for writer in writers:
        writer.close()
    silent.close()


@pytest.mark.parametrize(
    "secret",
    ["whsec_" + base64.b64encode(b"k" * 24).decode(), base64.b64encode(b"k" * 24).decode()],
)
async def test_a_secret_signs_by_standard_webhooks(
    database: Database, client: GuardedClient, receiver: Receiver, secret: str
) -> None:
    async with Post(database, client, secret) as sender:
        await end_task(database, sender, make_task("a", receiver.url))
        async with asyncio.timeout(5):
            body, headers = await receiver.received.get()
    assert Webhook(secret).verify(body, headers)["task_id"] == "a"


def test_a_plain_secret_is_its_own_key_and_a_broken_prefixed_one_is_refused() -> None:
    assert signing_key("open sesame") == b"open sesame"
    assert signing_key("short") == b"short"
    with pytest.raises(ValueError, match="whsec_"):
        signing_key("whsec_***")


async def test_a_restart_requeues_or_fails_what_never_ended(
    database: Database,
) -> None:
    history = HistoryRepository(database)
    recorder = recorder_of(database, Outbox(database))
    async with database.transaction() as connection:
        await connection.execute(
            "INSERT INTO generate_record (task_id, req_params) VALUES ('bad', '{')"
        )
    tasks = [make_task(name, "") for name in ("a", "b")]
    for task in tasks:
        await history.add_queued(task)
    left = await recorder.recover(lambda params, _present: resolve_params(params))
    assert [row.task for row in left] == tasks
    bad = await history.get("bad")
    assert bad is not None
    assert bad.task_status == "failed"
    assert "cannot be read" in str(bad.error)
    assert await recorder.recover(None) == []
    failed = await history.get("a")
    assert failed is not None
    assert (failed.task_status, failed.code) == ("failed", "restarted")
    assert (await history.unfinished()).rows == []


async def test_thousands_of_rows_are_failed_in_one_transaction(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        await HistoryRepository(database).add_queued(make_task(f"{number}", "http://a.example/"))
    begun = []
    begin = database.transaction

    def counted(wait_s: float | None = None) -> AbstractAsyncContextManager[aiosqlite.Connection]:
        begun.append(wait_s)
        return begin(wait_s)

    monkeypatch.setattr(database, "transaction", counted)
    assert await recorder_of(database, Outbox(database)).recover(None) == []
    assert len(begun) == 1
    assert len(await owed(database)) == 50


async def test_a_waiting_task_whose_files_are_gone_fails_and_the_others_run(
    database: Database,
) -> None:
    history = HistoryRepository(database)
    recorder = recorder_of(database, Outbox(database))
    for name in ("a", "b"):
        await history.add_queued(make_task(name, ""))
    asked: list[frozenset[str]] = []

    def resolve(params: GenerateParams, present: frozenset[str]) -> ResolvedRequest:
        asked.append(present)
        if len(asked) == 1:
            raise ModelNotFound(("base_model_name",), "no 'gone.safetensors'")
        return resolve_params(params)

    left = await recorder.recover(resolve)
    assert [row.task.task_id for row in left] == ["b"]
    assert asked == [frozenset(GenerateRequest.__struct_fields__)] * 2
    failed = await history.get("a")
    assert failed is not None
    assert (failed.task_status, failed.code) == ("failed", "model_not_found")
    assert "gone.safetensors" in str(failed.error)


async def test_a_fault_in_the_sender_is_logged_and_webhooks_go_on(
    database: Database,
    client: GuardedClient,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    at_once = Backoff(first_s=0.0, limit_s=0.0)
    monkeypatch.setattr("storage.webhooks.Supervisor", lambda: Supervisor(at_once))
    look_up = Outbox.next
    faults = iter([ZeroDivisionError("a bug")])

    async def fails_once(self: Outbox, limit: int) -> object:
        if (error := next(faults, None)) is not None:
            raise error
        return await look_up(self, limit)

    monkeypatch.setattr(Outbox, "next", fails_once)
    async with Post(database, client) as sender:
        await end_task(database, sender, make_task("a", receiver.url))
        body, _ = await receiver.next()
    assert body["task_id"] == "a"
    assert "webhooks ended" in caplog.text
