"""The worker protocol with a worker that is no thread of this process."""

import asyncio
import pickle
from concurrent.futures import Future

import msgspec

from bus.bus import EventBus
from bus.events import DownloadProgress, ModelLoaded, TaskPreview, TaskProgress
from pipeline.errors import PipelineError
from pipeline.images.read import ImageTooLarge, UnreadableImage
from pipeline.scheduling.engine_protocol import Inputs, LoadedModel
from pipeline.scheduling.executor import Executor
from pipeline.scheduling.storage import TaskStorage
from pipeline.scheduling.task import MadeImage, Outcome, Task
from pipeline.scheduling.worker import DeviceState, Failure, ToolReply, ToolRequest, Worker
from pipeline.scheduling.worker_events import (
    Download,
    ImageDone,
    ModelState,
    Note,
    Preview,
    Progress,
    Sink,
    WorkerEvent,
    WorkerFailed,
)
from tests.unit.scheduling import AT_ONCE, Images, make_image, make_task, within

_decode = msgspec.msgpack.Decoder(WorkerEvent).decode


def across(event: WorkerEvent) -> WorkerEvent:
    """An event as another process would receive it."""
    copy: WorkerEvent = _decode(msgspec.msgpack.encode(event))
    return copy


class RemoteWorker:
    """A worker whose every move is the test's. Everything is passed on as bytes."""

    name = "remote"

    def __init__(self) -> None:
        self.state = DeviceState(name=self.name)
        self.starts = 0
        self.worker_sink: Sink = _nowhere
        self.task_sink: Sink = _nowhere
        self.done: Future[Failure | None] = Future()
        self.begun = asyncio.Event()
        self.cancelled: list[tuple[str, bool]] = []

    def start(self, sink: Sink) -> Future[Failure | None]:
        """Ready at once."""
        self.starts += 1
        self.worker_sink = lambda event: sink(across(event))
        self.state = DeviceState(name=self.name, state="ready")
        ready: Future[Failure | None] = Future()
        ready.set_result(None)
        return ready

    def run(self, task: Task, inputs: Inputs, sink: Sink) -> Future[Failure | None]:
        """Ends when the test says so."""
        pickle.dumps((task, dict(inputs)))  # it can travel
        self.task_sink = lambda event: sink(across(event))
        self.done = Future()
        self.begun.set()
        return self.done

    def cancel(self, task_id: str, *, skip: bool = False) -> None:
        """Remember it."""
        self.cancelled.append((task_id, skip))

    def tool(self, request: ToolRequest) -> Future[ToolReply]:
        """Has none."""
        raise NotImplementedError

    def loaded(self) -> tuple[LoadedModel, ...]:
        """Nothing."""
        return ()

    def release(self) -> Future[tuple[str, ...]]:
        """Has nothing."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is open."""

    def fail(self) -> None:
        """As when its process has died."""
        self.state = DeviceState(name=self.name, state="failed", error="killed")


def _nowhere(event: WorkerEvent) -> None:
    raise AssertionError("the worker was not started")


class Remote:
    """An executor with one remote worker."""

    def __init__(self) -> None:
        self.worker = RemoteWorker()
        self.images = Images()
        self.rows: list[tuple[str, Outcome]] = []
        self.bus = EventBus(asyncio.get_running_loop())
        workers: tuple[Worker, ...] = (self.worker,)
        storage = TaskStorage(self.images, self._close_row)
        self.executor = Executor(self.bus, workers, storage, 10, AT_ONCE)
        self.executor.start()

    async def _close_row(self, task: Task, outcome: Outcome) -> None:
        self.rows.append((task.task_id, outcome))

    async def begin(self, name: str) -> None:
        """Submit a task and wait until the worker has it."""
        self.worker.begun.clear()
        self.executor.submit(make_task(name))
        await within(self.worker.begun.wait())

    async def end(self, name: str, failure: Failure | None = None) -> Outcome:
        """Let the worker end its run, and the task with it."""
        ending = asyncio.ensure_future(self.executor.wait(name))
        self.worker.done.set_result(failure)
        return await within(ending)


async def test_what_a_worker_reports_becomes_events_images_and_the_record() -> None:
    remote = Remote()
    with remote.bus.subscribe() as events:
        await remote.begin("one")
        sink = remote.worker.task_sink
        sink(ModelState(kind="checkpoint", name="m", state="loaded", seconds=1.5))
        sink(Progress(percent=40, message="Sampling", step=2, steps=5, image=1, images=1))
        sink(Preview(b"small", "image/jpeg"))
        sink(Note("native", [1, "two"]))
        sink(ImageDone(make_image(5)))
        outcome = await remote.end("one")
        told = [delivery.data for delivery in events.take_now()]
    await remote.executor.close(grace_s=0.0)
    assert (outcome.status, outcome.steps, outcome.notes) == ("finished", 5, {"native": [1, "two"]})
    assert outcome.images == ("/outputs/5.png",)
    assert [d.device for d in told if isinstance(d, ModelLoaded)] == ["remote"]
    assert [(d.progress, d.step) for d in told if isinstance(d, TaskProgress)] == [(40, 2)]
    assert [d.image for d in told if isinstance(d, TaskPreview)] == [
        "data:image/jpeg;base64,c21hbGw="
    ]


async def test_a_worker_that_dies_without_a_task_is_started_again() -> None:
    remote = Remote()
    await remote.begin("one")
    await remote.end("one")
    remote.worker.fail()
    remote.worker.worker_sink(WorkerFailed("its process was killed"))
    await remote.begin("two")
    assert remote.worker.starts == 2
    await remote.end("two")
    await remote.executor.close(grace_s=0.0)


async def test_a_task_whose_worker_dies_begins_anew_and_late_events_are_void() -> None:
    remote = Remote()
    await remote.begin("one")
    late = remote.worker.task_sink
    late(ImageDone(make_image(1)))
    remote.worker.fail()
    remote.worker.begun.clear()
    remote.worker.done.set_result(Failure(code="worker_lost", text="killed"))
    await within(remote.worker.begun.wait())
    assert remote.worker.starts == 2
    late(ImageDone(make_image(3)))
    remote.worker.task_sink(ImageDone(make_image(2)))
    outcome = await remote.end("one")
    await remote.executor.close(grace_s=0.0)
    assert outcome.images == ("/outputs/2.png",)
    assert remote.images.kept == ["/outputs/2.png"]
    assert len(remote.rows) == 1


async def test_stop_and_skip_reach_the_worker() -> None:
    remote = Remote()
    await remote.begin("one")
    remote.executor.skip("one")
    await remote.executor.stop("one")
    assert remote.worker.cancelled == [("one", True), ("one", False)]
    assert (await remote.end("one", Failure(code="stopped", text=""))).status == "stop"
    await remote.executor.close(grace_s=0.0)


async def test_downloads_of_a_worker_are_events_of_no_task() -> None:
    remote = Remote()
    await remote.begin("one")
    with remote.bus.subscribe() as events:
        remote.worker.worker_sink(Download(name="m", received=1, total=2))
        async for delivery in events:
            if isinstance(delivery.data, DownloadProgress):
                break
    await remote.end("one")
    await remote.executor.close(grace_s=0.0)
    assert delivery.task_id is None
    assert delivery.data == DownloadProgress(name="m", received=1, total=2)


async def test_a_worker_that_never_comes_back_does_not_hold_up_the_shutdown() -> None:
    remote = Remote()
    await remote.begin("one")
    remote.worker.task_sink(ImageDone(make_image(1)))
    await within(remote.executor.close(grace_s=0.0))
    assert remote.worker.cancelled == [("one", False)]
    assert (remote.rows, remote.images.kept) == ([], [])


def error_classes(base: type[PipelineError] = PipelineError) -> list[type[PipelineError]]:
    return [base, *(each for kind in base.__subclasses__() for each in error_classes(kind))]


def test_every_error_keeps_its_class_code_and_text_between_processes() -> None:
    kinds = error_classes()
    assert {ImageTooLarge, UnreadableImage} < {*kinds}
    for kind in kinds:
        try:
            error = kind("what is wrong")
        except TypeError:
            error = kind(("prompt",), "what is wrong")
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), copy.code, str(copy)) == (kind, kind.code, str(error))
        assert getattr(copy, "field", None) == getattr(error, "field", None)


def test_an_image_travels_as_it_is() -> None:
    made = MadeImage(data=b"\x89PNG", extension="png", seed=2**62, width=8, height=9)
    assert across(ImageDone(made)) == ImageDone(made)
