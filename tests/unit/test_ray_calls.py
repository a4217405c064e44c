"""Calls to an actor of Ray that do not reach it, or whose answer cannot be read. Without Ray."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import cast

import pytest

from pipeline.errors import WorkerLost
from pipeline.scheduling.engine_protocol import Generate
from pipeline.scheduling.ray_cluster import Node, Place, RayCluster
from pipeline.scheduling.ray_messages import START, Ended, Status, encode_batch
from pipeline.scheduling.ray_worker import RayWorker
from pipeline.scheduling.worker import DeviceState, Failure
from pipeline.scheduling.worker_events import Sink, WorkerEvent
from tests.unit.scheduling import WAIT_S, draw, make_task

PLACE = Place(node=Node(id="1", host="here", cpus=1.0, gpus=0.0), cpus=1.0, gpus=0.0, threads=1)
READY = encode_batch((Status(DeviceState(name="ray-1", state="ready"), (), 0), Ended(START, None)))


class Method:
    """A method of the actor; what it was called with, or the error that calling it raises."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.calls: list[tuple[object, ...]] = []

    def remote(self, *arguments: object) -> None:
        """As Ray's."""
        if self.error is not None:
            raise self.error
        self.calls.append(arguments)


class Actor:
    """A ``RayActor`` and its handle: sends what the test puts into it, until it is killed."""

    def __init__(self) -> None:
        self.handle = self
        self.start, self.run, self.tool, self.release = Method(), Method(), Method(), Method()
        self.sent: SimpleQueue[bytes | None] = SimpleQueue()

    def batches(self) -> Iterator[bytes]:
        """As ``RayActor.batches``."""
        while (batch := self.sent.get(timeout=WAIT_S)) is not None:
            yield batch
        raise WorkerLost("it was killed")

    def kill(self) -> None:
        """As ``RayActor.kill``."""
        self.sent.put(None)


class Cluster:
    """A ``RayCluster`` with one actor."""

    def __init__(self) -> None:
        self.actor = Actor()
        self.has_room = threading.Event()
        self.has_room.set()

    def submit(self, call: Callable[[], None]) -> None:
        """At once."""
        call()

    def open_actor(self, *_arguments: object) -> Actor:
        """As ``RayCluster.open_actor``, once there is room."""
        assert self.has_room.wait(WAIT_S)
        return self.actor


def _nowhere(_event: WorkerEvent) -> None:
    """What is told is not looked at."""


def build(_sink: Sink) -> Generate:
    return draw


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def worker(cluster: Cluster) -> Iterator[RayWorker]:
    started = RayWorker("ray-1", build, cast(RayCluster, cluster), PLACE)
    ready = started.start(_nowhere)
    cluster.actor.sent.put(READY)
    assert ready.result(WAIT_S) is None
    yield started
    started.close()


def run(worker: RayWorker) -> Future[Failure | None]:
    return worker.run(make_task("a"), {}, _nowhere)


def test_a_run_that_cannot_be_sent_ends_with_its_worker(
    cluster: Cluster, worker: RayWorker
) -> None:
    cluster.actor.run.error = TypeError("it cannot be pickled")
    failure = run(worker).result(WAIT_S)
    assert failure is not None
    assert failure.code == WorkerLost.code
    assert worker.state.state == "failed"
    assert run(worker).result(WAIT_S) == failure  # until it is started again


def test_a_run_of_a_worker_that_was_closed_meanwhile_is_lost(worker: RayWorker) -> None:
    worker.close()
    failure = run(worker).result(WAIT_S)
    assert failure is not None
    assert failure.code == WorkerLost.code


def test_a_worker_that_sends_what_cannot_be_read_is_lost(
    cluster: Cluster, worker: RayWorker
) -> None:
    end = run(worker)
    cluster.actor.sent.put(b"no message")
    failure = end.result(WAIT_S)
    assert failure is not None
    assert failure.code == WorkerLost.code
    assert worker.state.state == "failed"


def test_a_run_for_an_actor_that_is_not_made_yet_is_lost(
    cluster: Cluster, worker: RayWorker
) -> None:
    cluster.has_room.clear()
    worker.start(_nowhere)
    failure = run(worker).result(WAIT_S)
    cluster.has_room.set()
    assert failure is not None
    assert failure.code == WorkerLost.code
