"""``focal_client`` against a running server with a fake device: both clients."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio

from focal_client import (
    AsyncClient,
    Client,
    ConnectionFailed,
    Event,
    InvalidField,
    NotFound,
    Progress,
    QueueFull,
    TaskFailed,
    TaskStopped,
    Unauthorized,
)
from focal_client.structs import GenerateRequest
from pipeline.errors import DeviceOutOfMemory
from tests.integration.serving import Focal, serve
from tests.integration.test_input_images import grey, stored_as

T = TypeVar("T")


@pytest_asyncio.fixture
async def focal(tmp_path: Path) -> AsyncIterator[Focal]:
    async with serve(tmp_path) as running:
        yield running


async def used(focal: Focal, work: Callable[[Client], T]) -> T:
    """What ``work`` makes with a synchronous client, on a thread of its own."""

    def run() -> T:
        with Client(focal.url) as client:
            return work(client)

    async with asyncio.timeout(30):
        return await asyncio.to_thread(run)


async def test_pictures_are_made_and_saved(focal: Focal, tmp_path: Path) -> None:
    pictures = await used(
        focal, lambda client: client.generate("a cat", image_number=2, image_seed=5)
    )
    assert [picture.seed for picture in pictures] == [5, 6]
    for index, picture in enumerate(pictures):
        path = picture.save(tmp_path / f"{index}.png")
        async with focal.session.get(picture.path) as answer:
            assert path.read_bytes() == await answer.read()
    folder = tmp_path / "pictures"
    folder.mkdir()
    assert pictures[0].save(folder) == folder / pictures[0].name
    assert pictures[0].format == "png"


async def test_the_seed_after_the_largest_is_0(focal: Focal) -> None:
    pictures = await used(
        focal, lambda client: client.generate(image_number=2, image_seed=2**63 - 1)
    )
    assert [picture.seed for picture in pictures] == [2**63 - 1, 0]


async def test_only_what_is_named_is_sent(focal: Focal) -> None:
    await used(focal, lambda client: client.generate(prompt="a cat", guidance_scale=None))
    (task,) = focal.device.seen
    record = await focal.get(f"/tasks/{task.task_id}")
    assert record["req_params"]["prompt"] == "a cat"
    assert record["req_params"]["guidance_scale"] == 5  # the embedded preset's


async def test_the_data_urls_of_a_task_are_pictures_too(focal: Focal) -> None:
    def work(client: Client) -> set[bytes]:
        made = [client.generate("a", image_seed=3, require_base64=on) for on in (False, True)]
        return {picture.data for pictures in made for picture in pictures}

    assert len(await used(focal, work)) == 1


@pytest.mark.parametrize("as_file", [False, True])
async def test_pictures_in_a_request_are_uploaded(
    focal: Focal, tmp_path: Path, as_file: bool
) -> None:
    path = tmp_path / "grey.png"
    path.write_bytes(grey())
    picture = path if as_file else grey()
    params: GenerateRequest = {"uov_method": "Vary (Subtle)", "uov_input_image": picture}
    params["controlnet_image"] = [{"cn_img": picture}]
    await used(focal, lambda client: client.generate("a cat", **params))
    (task,) = focal.device.seen
    assert task.params.uov_input_image == f"/{stored_as(grey())}"
    assert task.params.controlnet_image[0].cn_img == f"/{stored_as(grey())}"


async def test_a_stream_tells_of_progress_and_ends_with_the_pictures(focal: Focal) -> None:
    focal.device.hold_at_step(3)
    seen: list[Progress] = []

    def follow(client: Client) -> None:
        for step in client.stream("a cat", image_seed=5):
            seen.append(step)
            if "step 2" in step.message:
                focal.device.gate.set()

    await used(focal, follow)
    assert [step.progress for step in seen] == sorted(step.progress for step in seen)
    assert any((step.preview or b"").startswith(b"\x89PNG") for step in seen)
    *before, last = seen
    assert (last.progress, len(last.pictures)) == (100, 1)
    assert all(step.pictures == () for step in before)


async def test_a_task_is_followed_stopped_and_found_in_the_history(focal: Focal) -> None:
    focal.device.gate.clear()

    def work(client: Client) -> None:
        task = client.submit("a cat")
        assert client.queue.view().limit > 0
        assert client.tasks.get(task.id).task_id == task.id
        waiting = client.submit("a dog")
        assert client.queue.prioritise(waiting.id, 3).pending[0].priority == 3
        assert waiting.stop() == "Stopped"
        with pytest.raises(TaskStopped) as stopped:
            waiting.wait()
        assert stopped.value.record.task_id == waiting.id
        focal.device.gate.set()
        types = [event.type for event in task.events()]
        assert (types[0], types[-1]) == ("task.queued", "task.finished")
        assert [event.type for event in task.events()] == types  # of a task that has ended too
        found = client.tasks.history("cat")
        assert [card.task_id for card in found.items] == [task.id]
        client.tasks.delete(task.id)
        with pytest.raises(NotFound):
            client.tasks.get(task.id)
        client.tasks.restore(task.id)
        client.tasks.favourite(task.id)
        assert client.tasks.retry(task.id).pictures()[0].data == task.pictures()[0].data

    await used(focal, work)


async def test_each_kind_of_error_has_its_class(focal: Focal) -> None:
    with pytest.raises(InvalidField) as wrong:
        await used(focal, lambda client: client.generate("a", image_number=99))
    (fault,) = wrong.value.fields
    assert fault.loc == ["body", "image_number"]
    assert "image_number" in str(wrong.value)
    with pytest.raises(NotFound):
        await used(focal, lambda client: client.tasks.get("nobody"))
    focal.device.failure = DeviceOutOfMemory("no room")
    with pytest.raises(TaskFailed, match="no room") as failed:
        await used(focal, lambda client: client.generate("a"))
    assert failed.value.record.code == DeviceOutOfMemory.code
    with pytest.raises(TaskFailed):
        await used(focal, lambda client: list(client.stream("a")))


async def test_a_full_queue_says_when_to_come_back(tmp_path: Path) -> None:
    async with serve(tmp_path, queue_size=1) as focal:
        focal.device.gate.clear()

        def work(client: Client) -> None:
            for _ in range(3):
                client.submit("a")

        with pytest.raises(QueueFull) as full:
            await used(focal, work)
        assert full.value.retry_after


async def test_a_key_is_sent_and_its_absence_told(tmp_path: Path) -> None:
    async with serve(tmp_path, api_key="secret") as focal:
        with pytest.raises(Unauthorized):
            await used(focal, lambda client: client.styles())
        async with AsyncClient(focal.url, key="secret") as client:
            assert await client.styles()


async def test_a_server_that_is_not_there_is_a_failed_connection() -> None:
    with Client("http://127.0.0.1:9", timeout=1) as client, pytest.raises(ConnectionFailed):
        await asyncio.to_thread(client.health)


@pytest.mark.parametrize("url", ["http://[", "http://127.0.0.1:99999", "http://a:b"])
async def test_a_wrong_url_is_a_failed_connection(url: str) -> None:
    with pytest.raises(ConnectionFailed), Client(url) as client:
        await asyncio.to_thread(client.health)
    with pytest.raises(ConnectionFailed):
        async with AsyncClient(url) as other:
            await other.health()


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "gopher://127.0.0.1:9"])
async def test_a_proxy_that_cannot_be_used_is_a_failed_connection(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(ConnectionFailed, match="127"):
        Client("http://127.0.0.1:9")
    with pytest.raises(ConnectionFailed, match="127"):
        AsyncClient("http://127.0.0.1:9")


async def test_a_key_may_have_any_letters(tmp_path: Path) -> None:
    async with (
        serve(tmp_path, api_key="schlüssel") as focal,
        AsyncClient(focal.url, key="schlüssel\n") as client,
    ):
        assert await client.styles()


async def test_the_async_client_does_the_same(focal: Focal) -> None:
    async with AsyncClient(focal.url) as client:
        (picture,) = await client.generate("a cat", image_seed=5)
        steps: list[Progress] = [step async for step in client.stream("a cat", image_seed=5)]
        assert steps[-1].pictures[0].data == picture.data
        task = await client.submit("a dog")
        types = [event.type async for event in task.events()]
        assert types[-1] == "task.finished"
        assert (await client.tasks.history(limit=1)).total == 3
        assert (await client.upload(grey())).path == f"/{stored_as(grey())}"
        assert (await client.queue.pause()).paused
        assert not (await client.queue.resume()).paused
        assert "embedded" in [file.name for file in (await client.models()).checkpoints]
        assert (await client.health()).ready
        with pytest.raises(InvalidField):
            await client.generate("a", image_number=99)


class Relay:
    """A connection to a server that can be cut. ``streaming`` is set by a stream's first bytes."""

    def __init__(self, url: str) -> None:
        self.streaming = asyncio.Event()
        self.url = ""
        self._port = urlsplit(url).port
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server

    async def __aenter__(self) -> "Relay":
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        self.cut()
        self._server.close()
        await self._server.wait_closed()

    def cut(self) -> None:
        self.streaming.clear()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, far_writer]
        await asyncio.gather(self._copy(reader, far_writer), self._copy(far_reader, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(2**16):
                if b"text/event-stream" in data:
                    self.streaming.set()
                writer.write(data)
                await writer.drain()
        writer.close()


async def first(events: AsyncIterator[Event], count: int) -> list[Event]:
    found: list[Event] = []
    async with asyncio.timeout(20):
        async for event in events:
            found.append(event)
            if len(found) == count:
                break
    return found


async def test_events_missed_while_the_connection_was_lost_are_replayed(focal: Focal) -> None:
    async with Relay(focal.url) as relay, AsyncClient(relay.url) as client:
        reading = asyncio.create_task(first(client.events("task.finished"), 2))
        async with asyncio.timeout(10):
            await relay.streaming.wait()
        relay.cut()  # before anything has happened: where the stream began is known all the same
        ids = []
        for prompt in ("a", "b"):
            ids.append(await focal.queue(prompt=prompt))
            await focal.ended(ids[-1])
        assert [event.task_id for event in await reading] == ids


async def test_a_stream_that_is_cut_ends_with_the_pictures_all_the_same(focal: Focal) -> None:
    focal.device.gate.clear()
    async with Relay(focal.url) as relay, AsyncClient(relay.url) as client:

        async def follow() -> list[Progress]:
            return [step async for step in client.stream("a cat")]

        following = asyncio.create_task(follow())
        async with asyncio.timeout(20):
            await relay.streaming.wait()
            relay.cut()
            focal.device.gate.set()
            steps = await following
        assert len(steps[-1].pictures) == 1
    assert len(focal.device.seen) == 1


async def test_a_task_is_waited_for_over_a_restart_of_the_server(focal: Focal) -> None:
    task_id = await focal.queue(prompt="a cat")
    await focal.ended(task_id)
    async with focal.session.get(f"/tasks/{task_id}") as answer:
        record = await answer.read()
    faults: list[Exception | httpx.Response] = [
        *(httpx.ConnectError("refused") for _ in range(4)),
        httpx.Response(503, json={"detail": "the server is stopping", "code": "server_stopping"}),
    ]

    def answered(_: httpx.Request) -> httpx.Response:
        fault = faults.pop(0) if faults else httpx.Response(200, content=record)
        if isinstance(fault, Exception):
            raise fault
        return fault

    async with AsyncClient(focal.url, transport=httpx.MockTransport(answered)) as client:
        assert (await client.wait(task_id)).task_id == task_id
    faults.extend(httpx.ConnectError("refused") for _ in range(4))
    with Client(focal.url, transport=httpx.MockTransport(answered)) as waiting:
        assert (await asyncio.to_thread(waiting.wait, task_id)).task_id == task_id
    faults.extend(httpx.ConnectError("refused") for _ in range(99))
    with (
        Client(focal.url, transport=httpx.MockTransport(answered)) as impatient,
        pytest.raises(ConnectionFailed),
    ):
        await asyncio.to_thread(impatient.wait, task_id, 0.0)


async def test_a_picture_that_cannot_be_fetched_is_a_failed_connection(focal: Focal) -> None:
    task_id = await focal.queue(prompt="a cat")
    await focal.ended(task_id)
    async with AsyncClient(focal.url) as client:
        record = await client.wait(task_id)
    async with AsyncClient("http://127.0.0.1:9", timeout=1) as other:
        with pytest.raises(ConnectionFailed):
            await other.fetch(record)


async def test_patience_with_a_server_that_is_gone_ends(focal: Focal) -> None:
    async with Relay(focal.url) as relay:
        client = AsyncClient(relay.url)
        reading = asyncio.create_task(first(client.events(patience_s=0.3), 10**6))
        async with asyncio.timeout(10):
            await relay.streaming.wait()
    async with asyncio.timeout(20):
        with pytest.raises(ConnectionFailed):
            await reading
    await client.close()
