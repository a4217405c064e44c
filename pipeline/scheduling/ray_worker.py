"""A worker that is an actor of Ray, on this machine or another."""

import logging
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from pipeline.errors import DeviceBusy, WorkerLost
from pipeline.scheduling.engine_protocol import Inputs, LoadedModel
from pipeline.scheduling.local_worker import BuildEngine
from pipeline.scheduling.ray_cluster import Place, RayActor, RayCluster
from pipeline.scheduling.ray_messages import (
    START,
    Answered,
    Emitted,
    Ended,
    Message,
    Raised,
    Released,
    Status,
    decode_batch,
)
from pipeline.scheduling.task import Task
from pipeline.scheduling.worker import DeviceState, Failure, ToolReply, ToolRequest
from pipeline.scheduling.worker_events import Sink, WorkerFailed

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Call:
    """An open call. ``lost`` completes its future when the actor is gone, given the reason."""

    future: Future[Any]
    sink: Sink
    lost: Callable[[str], None]


class _Session:
    """One actor's life: its open calls, by number. Any thread may call its methods."""

    def __init__(self, sink: Sink) -> None:
        """``sink`` receives what belongs to no run."""
        self.actor: RayActor | None = None
        self.reason = ""
        """Why the actor is gone; empty while it is not."""
        self.sink = sink
        self._lock = threading.Lock()
        self._numbers = count(START)
        self._calls: dict[int, _Call] = {}

    def run(self, sink: Sink) -> tuple[int, Future[Failure | None]]:
        """The number of a new run, and its end."""
        end: Future[Failure | None] = Future()
        lost = lambda reason: _settle(end, Failure(code=WorkerLost.code, text=reason))  # noqa: E731
        return self._add(_Call(end, sink, lost)), end

    def tool(self) -> tuple[int, Future[ToolReply]]:
        """The number of a new tool call, and its reply."""
        reply: Future[ToolReply] = Future()
        lost = lambda reason: _fail(reply, DeviceBusy(f"{reason}; try again later"))  # noqa: E731
        return self._add(_Call(reply, self.sink, lost)), reply

    def release(self) -> tuple[int, Future[tuple[str, ...]]]:
        """The number of a new call to unload, and the names."""
        names: Future[tuple[str, ...]] = Future()
        return self._add(_Call(names, self.sink, lambda _reason: _settle(names, ()))), names

    def receive(self, message: Message) -> None:
        """Pass a message on to the call that it belongs to."""
        match message:
            case Emitted(call=number, event=event):
                call = self._calls.get(number)
                (call.sink if call else self.sink)(event)
            case Ended() | Answered() | Released():
                if (call := self._calls.pop(message.call, None)) is not None:
                    _settle(call.future, message.result)
            case Raised(call=number, error=error):
                if (call := self._calls.pop(number, None)) is not None:
                    _fail(call.future, pickle.loads(error))  # noqa: S301 - our own code sent it

    def lose_call(self, number: int, reason: str) -> None:
        """End an open call that the actor does not get."""
        with self._lock:
            call = self._calls.pop(number, None)
        if call is not None:
            call.lost(reason)

    def lose(self, reason: str) -> bool:
        """End every open call. Had the worker started?"""
        with self._lock:
            self.reason = reason
            calls, self._calls = self._calls, {}
        for call in calls.values():
            call.lost(reason)
        return START not in calls

    def _add(self, call: _Call) -> int:
        with self._lock:
            number = next(self._numbers)
            if not self.reason:
                self._calls[number] = call
                return number
        call.lost(self.reason)
        return number


class RayWorker:
    """As ``Worker``. ``start`` makes an actor, and a new one in place of one that was lost.

    A thread reads what the actor sends; the end of that stream is how its death is noticed, be it
    of the process, its raylet or its machine.
    """

    def __init__(self, name: str, build: BuildEngine, cluster: RayCluster, place: Place) -> None:
        """``build`` is sent to the actor, so it must be a function (or a partial) of a module."""
        self._name = name
        self._build = build
        self._cluster = cluster
        self.place = place
        self._memory = 0
        self._state = DeviceState(name=name)
        self._loaded: tuple[LoadedModel, ...] = ()
        self._session: _Session | None = None

    @property
    def name(self) -> str:
        """As ``Worker.name``."""
        return self._name

    @property
    def node(self) -> str:
        """As ``RunsElsewhere``."""
        return self.place.node.host

    @property
    def memory(self) -> int:
        """As ``RunsElsewhere``."""
        return self._memory

    @property
    def state(self) -> DeviceState:
        """As ``Worker.state``."""
        return self._state

    def start(self, sink: Sink) -> Future[Failure | None]:
        """As ``Worker.start``. Waits for as long as Ray has no room for the actor."""
        self._end_session()
        session = self._session = _Session(sink)
        self._state = DeviceState(name=self._name)
        _, started = session.run(sink)
        reader = partial(self._serve, session)
        threading.Thread(target=reader, name=f"{self._name} reader", daemon=True).start()
        return started

    def run(self, task: Task, inputs: Inputs, sink: Sink) -> Future[Failure | None]:
        """As ``Worker.run``."""
        session = self._session
        if session is None:  # its node left after the task got this worker
            lost: Future[Failure | None] = Future()
            lost.set_result(Failure(code=WorkerLost.code, text=f"{self._name} was closed"))
            return lost
        number, end = session.run(sink)
        self._ask(session, "run", number, task, dict(inputs))
        return end

    def cancel(self, task_id: str, *, skip: bool = False) -> None:
        """As ``Worker.cancel``."""
        if self._session is not None:
            self._call(self._session, "cancel", task_id, skip)

    def tool(self, request: ToolRequest) -> Future[ToolReply]:
        """As ``Worker.tool``."""
        session = self._session
        if session is None:
            raise DeviceBusy(f"{self._name} is not ready; try again later")
        number, reply = session.tool()
        self._ask(session, "tool", number, request)
        return reply

    def loaded(self) -> tuple[LoadedModel, ...]:
        """As ``Worker.loaded``: after the newest call."""
        return self._loaded

    def release(self) -> Future[tuple[str, ...]]:
        """As ``Worker.release``; nothing of a worker that is not ready."""
        session = self._session
        if session is None or self._state.state != "ready":
            nothing: Future[tuple[str, ...]] = Future()
            nothing.set_result(())
            return nothing
        number, names = session.release()
        self._ask(session, "release", number)
        return names

    def close(self) -> None:
        """As ``Worker.close``: the actor is killed."""
        self._end_session()

    def _call(self, session: _Session, method: str, *arguments: object) -> None:
        """Have a method of the actor called. Not on this thread: pictures may be large."""

        def call() -> None:
            if session.actor is not None and not session.reason:
                getattr(session.actor.handle, method).remote(*arguments)

        self._cluster.submit(call)

    def _ask(self, session: _Session, method: str, number: int, *arguments: object) -> None:
        """As ``_call``, for an open call: one that does not reach the actor ends."""

        def call() -> None:
            actor = session.actor
            if actor is None:  # the one before it was lost after the caller got this worker
                session.lose_call(number, f"{self._name} is not ready")
                return
            try:
                getattr(actor.handle, method).remote(number, *arguments)
            except Exception as error:  # noqa: BLE001 - such as Ray's object store being full
                log.warning("%s cannot be sent a call and is started again: %s", self._name, error)
                actor.kill()  # the end of its stream ends all calls

        self._cluster.submit(call)

    def _end_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            self._kill(session)

    def _kill(self, session: _Session) -> None:
        def kill() -> None:
            if session.actor is not None:
                session.actor.kill()

        self._cluster.submit(kill)

    def _serve(self, session: _Session) -> None:
        """Make the actor and pass on what it sends until it is gone."""
        try:
            session.actor = self._cluster.open_actor(self._name, self._build, self.place)
            if self._session is not session:  # closed meanwhile
                session.actor.kill()
            self._call(session, "start")
            for batch in session.actor.batches():
                for message in decode_batch(batch):
                    self._receive(session, message)
        except Exception as error:  # whatever it is, nobody reads this stream any more
            if not isinstance(error, WorkerLost):
                log.exception("%s: an unexpected error", self._name)
                self._kill(session)
            self._lose(session, f"{self._name} on {self.place.node.host} was lost: {error}")

    def _receive(self, session: _Session, message: Message) -> None:
        if isinstance(message, Status) and self._session is session:
            self._loaded, self._memory = message.loaded, message.memory
            self._state = message.state
        session.receive(message)

    def _lose(self, session: _Session, reason: str) -> None:
        if self._session is session:  # else it was replaced or closed
            self._loaded, self._memory = (), 0
            self._state = DeviceState(name=self._name, state="failed", error=reason)
        if session.lose(reason) and self._session is session:
            session.sink(WorkerFailed(reason))


def _settle(future: Future[Any], result: object) -> None:
    """Complete a call, unless nobody waits any more."""
    if future.set_running_or_notify_cancel():
        future.set_result(result)


def _fail(future: Future[Any], error: Exception) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)
