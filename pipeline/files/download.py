"""Downloads one model file: resumed, verified, whole or not at all. Blocks its thread.

``huggingface_hub`` (2.4.0) does not do: a download that ``hf_hub_download`` does not finish leaves
nothing to resume after a stop or a restart, content is checked by its length and not by its
checksum, a stop must be raised inside a progress bar's class, and files come from other hosts too.
"""

import logging
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, Protocol, cast
from urllib.parse import urljoin, urlsplit

import msgspec
import requests
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError
from urllib3.exceptions import TimeoutError as TimedOut

from pipeline.errors import DownloadFailed
from pipeline.files.hub import (
    HubToken,
    first_byte,
    mirrored,
    read_described,
    read_linked,
    shown,
)
from pipeline.files.part_file import CHUNK_BYTES, Origin, PartFile

log = logging.getLogger(__name__)

_USER_AGENT: Final = "Focal"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})  # worth another try
_LOCKED: Final = frozenset({401, 403})
_WAIT_STEP_S: Final = 0.2


class DownloadLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Time-outs, retries and disk space of a download."""

    connect_seconds: float = 15.0
    stall_seconds: float = 20.0  # without a byte
    tries: int = 4  # in a row without a new byte
    retry_seconds: float = 2.0  # before the second try; then twice as long each time
    redirects: int = 5
    spare_bytes: int = 256 * 2**20  # that stay free on the disk


class Watch(Protocol):
    """Cancellation and progress of a download."""

    def check(self) -> None:
        """Raise to end the download; the received part is kept for the next try."""

    def progress(self, received: int, total: int) -> None:
        """Bytes so far; ``total`` is 0 where the server does not say."""


class _Interrupted(Exception):
    """The transfer ended early; another try may succeed."""


class _Corrupt(Exception):
    """The received bytes are not the wanted file."""


class Download:
    """Fetches one file. ``environment`` may hold HF_TOKEN, HF_MIRROR or HF_ENDPOINT, and proxies.

    ``checksum`` is ``sha256:…``, ``md5:…`` or "": then it is verified only against what the server
    says.
    """

    def __init__(
        self,
        url: str,
        target: Path,
        checksum: str = "",
        limits: DownloadLimits | None = None,
        environment: Mapping[str, str] = os.environ,
        place: str = "",
    ) -> None:
        """``place`` stands for the folder in messages: clients need not know its path."""
        self._url = mirrored(url, environment)
        self._name = target.name
        self._folder = target.parent
        self._checksum = checksum
        self._limits = limits or DownloadLimits()
        self._part = PartFile(target)
        self._place = place or str(target.parent)
        self.auth: AuthBase = HubToken(environment.get("HF_TOKEN", ""))
        """Adds credentials to each request."""

    def run(self, watch: Watch) -> None:
        """Fetch the file to its place. Raises DownloadFailed, and whatever ``watch`` raises."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with requests.Session() as session:
                session.auth = self.auth
                self._try_until_whole(session, watch)
            self._part.finish()
        except OSError as error:  # requests' own errors are handled before
            raise DownloadFailed(f"{self._name} could not be written: {error.strerror}") from error

    def _try_until_whole(self, session: requests.Session, watch: Watch) -> None:
        """Retry while tries bring new bytes, and a few times more."""
        failures, most = 0, self._part.size
        begun_before = most > 0
        while True:
            try:
                self._fetch(session, watch)
                self._verify(watch)
            except _Corrupt as error:
                self._part.clear()
                if not begun_before:
                    raise self._failed(f"the content is wrong: {error}") from None
                log.warning("%s: the part kept from before is not of this file", self._name)
                begun_before, most = False, 0
            except _Interrupted as error:
                failures = failures + 1 if self._part.size <= most else 1
                most = max(most, self._part.size)
                if failures >= self._limits.tries:
                    raise self._failed(
                        f"{error}; the received part is kept for the next try"
                    ) from None
                log.warning("%s: %s; trying again", self._name, error)
                self._wait(failures, watch)
            else:
                return

    def _wait(self, failures: int, watch: Watch) -> None:
        until = time.monotonic() + self._limits.retry_seconds * 2.0 ** (failures - 1)
        watch.check()
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _WAIT_STEP_S))
            watch.check()

    def _fetch(self, session: requests.Session, watch: Watch) -> None:
        """One try, from where the last one ended. Raises _Interrupted, DownloadFailed."""
        known = self._part.origin(self._url)
        have = self._part.size
        if known.total and have == known.total:
            return
        try:
            response, origin = self._open(session, have, known)
            with response:
                offset = self._offset(response, have, known, origin)
                self._make_room(origin.total - offset)
                if offset == 0:
                    self._part.begin(origin)
                self._receive(response, offset, origin.total, watch)
        except (requests.RequestException, HTTPError) as error:
            raise _Interrupted(_reason(error)) from error

    def _open(
        self, session: requests.Session, have: int, known: Origin
    ) -> tuple[requests.Response, Origin]:
        """The response that holds the file, after redirects, and what it says of the file."""
        url = self._url
        headers = {"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"}
        if have and (known.validator or known.sha256):
            headers["Range"] = f"bytes={have}-"
            if known.validator:
                headers["If-Range"] = known.validator
        told = Origin(url=self._url)
        for _ in range(self._limits.redirects + 1):
            response = session.get(
                url,
                headers=headers,
                stream=True,
                allow_redirects=False,
                timeout=(self._limits.connect_seconds, self._limits.stall_seconds),
            )
            told = read_linked(response, told)
            if response.status_code not in _REDIRECTS:
                return response, read_described(response, told)
            with response:
                url = self._next_url(url, response.headers.get("Location", ""))
        raise self._failed(f"it redirects more than {self._limits.redirects} times")

    def _next_url(self, url: str, location: str) -> str:
        following = urljoin(url, location)
        schemes = ("http", "https") if self._url.startswith("http://") else ("https",)
        if not location or urlsplit(following).scheme not in schemes:
            raise self._failed("it redirects to an address that is not https")
        return following

    def _offset(self, response: requests.Response, have: int, known: Origin, told: Origin) -> int:
        """The byte at which the response begins: where we left off, or 0. Raises otherwise."""
        status = response.status_code
        if status in _PASSING:
            raise _Interrupted(f"the server answered with status {status}")
        if status == 416:
            self._part.clear()
            raise _Interrupted("the file is shorter than the part that is here")
        if status in _LOCKED:
            raise self._failed(
                f"the server wants a login (status {status}); for Hugging Face accept the model's"
                " terms there and set HF_TOKEN"
            )
        if status not in (200, 206):
            raise self._failed(f"the server answered with status {status}")
        self._refuse_pages(response)
        if status == 200:
            return 0
        same = told.sha256 == known.sha256 and known.total in (0, told.total)
        if first_byte(response) != have or not same:
            self._part.clear()
            raise _Interrupted("the server continued with another file")
        return have

    def _refuse_pages(self, response: requests.Response) -> None:
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind in ("text/html", "application/xhtml+xml"):
            raise self._failed("the server sent a web page in place of the file")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise self._failed("the server sent it compressed, which was not asked for")

    def _make_room(self, wanted: int) -> None:
        free = shutil.disk_usage(self._folder).free
        if free < wanted + self._limits.spare_bytes:
            raise self._failed(
                f"{megabytes(max(0, wanted) + self._limits.spare_bytes)} MB must be free for it,"
                f" and {megabytes(free)} MB are"
            )

    def _receive(self, response: requests.Response, offset: int, total: int, watch: Watch) -> None:
        """Append the body. Raises RequestException, urllib3's HTTPError, OSError."""
        received = offset
        with self._part.path.open("r+b") as file:
            file.seek(offset)
            # Not iter_content: it waits for whole chunks and loses the last of a broken transfer.
            while chunk := response.raw.read1(CHUNK_BYTES):
                watch.check()
                file.write(chunk)
                received += len(chunk)
                if total and received > total:
                    break
                watch.progress(received, total)
        if received < total:
            raise _Interrupted(f"the server ended after {received} of {total} bytes")
        if not total:  # without a Content-Length the end of the body is the end of the file
            self._part.note_total(received)

    def _verify(self, watch: Watch) -> None:
        """Raises _Corrupt for a file that is not what it should be."""
        origin = self._part.origin(self._url)
        if origin.total != self._part.size:
            raise _Corrupt(f"it has {self._part.size} bytes, not {origin.total}")
        checksums = [self._checksum, f"sha256:{origin.sha256}" if origin.sha256 else ""]
        for algorithm, _, wanted in (each.partition(":") for each in checksums if each):
            kind = cast(Literal["sha256", "md5"], algorithm)
            if self._part.digest(kind, watch.check) != wanted.lower():
                raise _Corrupt(f"its {algorithm} is not {wanted}")
        if self._name.endswith(".safetensors") and not self._part.is_whole_safetensors():
            raise _Corrupt("it is no whole safetensors file")

    def _failed(self, why: str) -> DownloadFailed:
        return DownloadFailed(
            f"{self._name} could not be fetched from {shown(self._url)}: {why}. You can put it"
            f" into {self._place} yourself"
        )


def _reason(error: requests.RequestException | HTTPError) -> str:
    if isinstance(error, requests.Timeout | TimedOut) or "timed out" in str(error).lower():
        return "the server stopped answering"
    return f"the connection failed ({type(error).__name__})"


def megabytes(count: int) -> int:
    """Whole megabytes, as people are told them."""
    return round(count / 1e6)
