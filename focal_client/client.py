"""The client for programs that wait: ``Client``."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar, Unpack

import httpx

from focal_client import calls
from focal_client.calls import EVENTS, GENERATE, Call, decode
from focal_client.errors import ConnectionFailed, Unavailable, check_ended, error_of
from focal_client.events import (
    OVERFLOW,
    Backoff,
    Event,
    EventReader,
    Step,
    decode_event,
    decode_step,
    event_query,
    resume_headers,
)
from focal_client.pictures import Picture, Progress, data_of, path_of, seed_of
from focal_client.queue import Queue
from focal_client.structs import (
    GenerateRequest,
    Health,
    ModelOverview,
    StoredInput,
    TaskRecord,
)
from focal_client.tasks import Task, Tasks
from focal_client.transport import (
    DEFAULT_URL,
    PATIENCE_S,
    PAUSES_S,
    POLL_S,
    SILENCE_S,
    encoded,
    has_ended,
    headers_of,
    opening,
    request_of,
)

T = TypeVar("T")
_STREAM: Final = {"stream_output": True}


class Client:
    """Talks to one server. May be shared by threads; close it, or use it in a ``with`` block.

    ``timeout`` in seconds is for each answer, not for a task: those take the time they need.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._timeout = timeout
        with opening(base_url):
            self._http = httpx.Client(
                base_url=base_url, headers=headers_of(key), timeout=timeout, transport=transport
            )
        self.tasks = Tasks(self)
        self.queue = Queue(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def generate(
        self, prompt: str | None = None, /, **params: Unpack[GenerateRequest]
    ) -> list[Picture]:
        """Make pictures and wait for them. Images in ``params`` may be bytes or files.

        Raises ApiError for a refused request, TaskError for a task that ends without pictures.
        """
        return self.submit(prompt, **params).pictures()

    def submit(self, prompt: str | None = None, /, **params: Unpack[GenerateRequest]) -> Task:
        """Queue a task and return at once. A lost answer is asked for again, not queued again."""
        record = self.send(calls.submit(self._body(prompt, params)))
        return Task(self, record.task_id)

    def stream(
        self, prompt: str | None = None, /, **params: Unpack[GenerateRequest]
    ) -> Iterator[Progress]:
        """Make pictures and follow their making; the last one holds the pictures.

        If the connection breaks, the task is waited for all the same. Leaving the loop early does
        not stop it.
        """
        body = self._body(prompt, params)
        task_id = ""
        try:
            content = encoded({**body, **_STREAM})
            with self._streaming("POST", GENERATE, content=content) as response:
                task_id = response.headers.get("x-task-id", "")
                for step in _steps(response):
                    if not step.is_last:
                        yield Progress(step.progress, step.message, data_of(step.preview))
        except httpx.TransportError as error:
            if not task_id:
                raise ConnectionFailed(str(error)) from error
        pictures = Task(self, task_id).pictures()
        yield Progress(100, "Finished", pictures=tuple(pictures))

    def events(
        self,
        *types: str,
        task_id: str | None = None,
        since: int | None = None,
        patience_s: float = PATIENCE_S,
        quiet_s: float | None = None,
    ) -> Iterator[Event]:
        """Everything that happens, of these types and this task, without end.

        A lost connection is made again and what was missed is replayed; what cannot be is named by
        an event ``bus.gap``. ``since`` replays what came after that number first. With
        ``quiet_s`` it ends once nothing has happened for so many seconds. Raises ConnectionFailed
        if the server does not answer for ``patience_s``.
        """
        reader, backoff = EventReader(since), Backoff(patience_s)
        while True:
            reason: object = ""
            try:
                query, headers = event_query(types, task_id), resume_headers(reader.last_seq)
                with self._streaming(
                    "GET", EVENTS, quiet_s or SILENCE_S, params=query, headers=headers
                ) as response:
                    backoff.connected()
                    yield from _events(response, reader)
            except httpx.ReadTimeout as error:
                if quiet_s is not None:
                    return
                reason = error
            except (httpx.TransportError, Unavailable) as error:
                reason = error
            time.sleep(backoff.pause_s(reason))

    def upload(self, picture: bytes | Path) -> StoredInput:
        """Store a picture once; its ``path`` stands for it in requests."""
        return self.send(calls.upload(_read(picture)))

    def models(self) -> ModelOverview:
        """Model files, styles and presets that requests may name; what is loaded; memory."""
        return self.send(calls.models())

    def styles(self) -> list[str]:
        """Every style's name."""
        return self.send(calls.styles())

    def health(self) -> Health:
        """Is the server alive, and can it make pictures?"""
        return self.send(calls.health())

    def fetch(self, record: TaskRecord) -> list[Picture]:
        """The pictures of an ended task, with their bytes."""
        pictures = []
        for index, url in enumerate(record.result or ()):
            data = data_of(url)
            path = "" if data is not None else path_of(url)
            data = self._bytes(path) if data is None else data
            pictures.append(Picture(data, path, seed_of(record, index), record))
        return pictures

    def wait(self, task_id: str, patience_s: float = PATIENCE_S) -> TaskRecord:
        """The record of a task when it has ended. Raises TaskError unless it has finished.

        The server may be restarted meanwhile. Raises ConnectionFailed if it does not answer for
        ``patience_s``.
        """
        backoff = Backoff(patience_s)
        while True:
            try:
                record = self.send(calls.task(task_id, POLL_S))
            except (ConnectionFailed, Unavailable) as error:
                time.sleep(backoff.pause_s(error))
                continue
            backoff.connected()
            if has_ended(record):
                check_ended(record)
                return record

    def send(self, call: Call[T]) -> T:
        """The answer to a call, repeated after a lost connection where that does no harm."""
        for pause_s in (*PAUSES_S, None):
            try:
                response = self._http.request(**request_of(call, self._timeout))
            except httpx.TransportError as error:
                if pause_s is None or not call.may_repeat:
                    raise ConnectionFailed(f"{self._http.base_url}: {error}") from error
                time.sleep(pause_s)
            else:
                return decode(call, response.status_code, response.headers, response.content)
        raise AssertionError("the last attempt returns or raises")

    def _body(self, prompt: str | None, params: Mapping[str, Any]) -> dict[str, Any]:
        """The request, its pictures uploaded and named by their paths."""
        whole = {**params} if prompt is None else {**params, "prompt": prompt}
        found = calls.uploads_of(whole)
        paths = {place: self.upload(picture).path for place, picture in found.items()}
        body: dict[str, Any] = calls.with_paths(whole, paths)
        return body

    def _bytes(self, path: str) -> bytes:
        try:
            response = self._http.get(path)
        except httpx.TransportError as error:
            raise ConnectionFailed(f"{self._http.base_url}: {error}") from error
        if response.status_code >= 400:
            raise error_of(response.status_code, response.headers, response.content)
        return response.content

    @contextmanager
    def _streaming(
        self, method: str, path: str, silence_s: float = SILENCE_S, **rest: Any
    ) -> Iterator[httpx.Response]:
        """The response of a stream, open for as long as it is looked at. Raises ApiError."""
        timeout = httpx.Timeout(self._timeout, read=silence_s)
        with self._http.stream(method, path, timeout=timeout, **rest) as response:
            if response.status_code >= 400:
                raise error_of(response.status_code, response.headers, response.read())
            yield response


def _steps(response: httpx.Response) -> Iterator[Step]:
    reader = EventReader()
    for chunk in response.iter_bytes():
        for _, data in reader.feed(chunk):
            yield decode_step(data)


def _events(response: httpx.Response, reader: EventReader) -> Iterator[Event]:
    reader.restart()
    for chunk in response.iter_bytes():
        for name, data in reader.feed(chunk):
            if name != OVERFLOW:
                yield decode_event(data)


def _read(picture: bytes | Path) -> bytes:
    return picture if isinstance(picture, bytes) else picture.read_bytes()
