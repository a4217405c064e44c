"""Finds model files by name; a missing one is fetched if its URL is known.

A file that two workers want at once, in this process or another one, is fetched once.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from pipeline.errors import DownloadFailed, ModelNotInstalled, PipelineError
from pipeline.files.catalog import CHECKPOINTS, EMBEDDINGS, LORAS, VAES, Field, ModelCatalog
from pipeline.files.download import Download, DownloadLimits, megabytes
from pipeline.files.hub import shown
from pipeline.files.model_server import ModelServer, ServerKey
from pipeline.files.registry import find_known
from pipeline.request.model_file import ModelFile
from pipeline.request.presets import INITIAL, Preset, PresetStore
from pipeline.scheduling.task import Reporter, check_stopped

log = logging.getLogger(__name__)

OnProgress = Callable[[str, int, int], None]
"""Gets a file's name, the bytes fetched so far and their total (0: unknown), on any thread."""

_TELL_EVERY_S: Final = 0.25
_LOOK_EVERY_S: Final = 0.2
_LOCKS: Final = ".locks"


class ModelFiles:
    """The models folder and what may be fetched into it. Any thread may call."""

    def __init__(
        self,
        catalog: ModelCatalog,
        presets: PresetStore | None = None,
        *,
        allowed: bool = True,
        on_progress: OnProgress | None = None,
        limits: DownloadLimits | None = None,
        server: ModelServer | None = None,
    ) -> None:
        """``allowed``: whether files may be fetched. ``presets`` name more files and their URLs.

        ``server`` has what requests name and is not here, whether or not files may be fetched from
        elsewhere.
        """
        self._server = server
        self.catalog = catalog
        self.models_dir = catalog.models_dir
        self.allowed = allowed
        self._presets = presets
        self._on_progress = on_progress
        self._limits = limits

    def find(self, folder: str, name: str) -> ModelFile | None:
        """The file with its URL, from the list of published files or from any preset."""
        return find_known(folder, name) or self.published().get((folder, name))

    def published(self) -> Mapping[tuple[str, str], ModelFile]:
        """The files whose URLs presets give, by folder and name; the first preset counts."""
        found: dict[tuple[str, str], ModelFile] = {}
        for preset in _sound_presets(self._presets) if self._presets else ():
            found = preset_downloads(preset) | found
        return found

    def has(self, file: ModelFile) -> bool:
        """Whether it is installed."""
        return self._path(file.folder, file.name).is_file()

    def look_up(self, folder: str, name: str, field: Field) -> ModelFile:
        """The file or diffusers folder that a request names, with its URL where it is missing.

        Raises ModelNotFound for an unknown name, ModelNotInstalled for a missing file that may not
        be fetched here.
        """
        if self.catalog.has(folder, name) or self._server is not None:
            return ModelFile(folder, name)
        file = self.find(folder, name)
        if file is None:
            raise self.catalog.not_found(folder, name, field)
        if not self.allowed:
            raise self.not_installed(file)
        return file

    def require(self, file: ModelFile, reporter: Reporter | None = None) -> Path:
        """The path of a file or diffusers folder; a missing file is fetched from its URL.

        Blocks meanwhile, so it is for device threads. Raises ModelNotInstalled, DownloadFailed,
        TaskAborted.
        """
        path = self._path(file.folder, file.name)
        if path.exists():
            return path
        if self._server is not None and not file.url:
            file = self._server.offered(file)
        elif not file.url or not self.allowed:
            raise self.not_installed(file)
        check = _never if reporter is None else partial(check_stopped, reporter)
        watch = _Told(file.name, check, reporter, self._on_progress)
        with self._alone(path, watch):
            if not path.is_file():
                self._fetch(file, path, watch)
        return path

    def fetch(self, file: ModelFile, check: Callable[[], None], tell: OnProgress) -> None:
        """Fetch a file that is missing, or what is missing of it. Blocks meanwhile.

        ``check`` may raise to end it; what has come is kept for the next call. Raises
        ModelNotInstalled, DownloadFailed, and whatever ``check`` raises.
        """
        path = self._path(file.folder, file.name)
        if not path.exists() and (not file.url or not self.allowed):
            raise self.not_installed(file)
        watch = _Told(file.name, check, None, tell)
        with self._alone(path, watch):
            if not path.exists():
                self._fetch(file, path, watch)

    def not_installed(self, file: ModelFile) -> ModelNotInstalled:
        """The error that says which file is missing, its folder and its URL."""
        told = f"{file.name} is not installed in models/{file.folder}"
        if not file.url:
            return ModelNotInstalled(f"{told}; put it there")
        why = "" if self.allowed else " (this server does not download: --downloads forbid)"
        return ModelNotInstalled(f"{told}; fetch it from {shown(file.url)}{why}")

    def _fetch(self, known: ModelFile, path: Path, watch: "_Told") -> None:
        log.info("downloading %s from %s", known.name, shown(known.url))
        started = time.perf_counter()
        place = f"models/{known.folder}"
        download = Download(known.url, path, known.checksum, self._limits, place=place)
        if self._server is not None and known.url.startswith(self._server.url):
            download.auth = ServerKey(self._server)
        download.run(watch)
        size = megabytes(path.stat().st_size)
        log.info("downloaded %s: %d MB in %.1f s", path, size, time.perf_counter() - started)

    def _path(self, folder: str, name: str) -> Path:
        if not _stays_inside(name):
            raise ModelNotInstalled(f"{name[:120]!r} is no name of a file in models/{folder}")
        return self.models_dir / folder / name

    @contextmanager
    def _alone(self, path: Path, watch: "_Told") -> Iterator[None]:
        """Hold the file's lock: one download at a time, over all processes of the machine."""
        try:
            # In one hidden folder: a lock file cannot be removed safely, and would stay there.
            locks = self.models_dir / _LOCKS
            locks.mkdir(parents=True, exist_ok=True)
            name = hashlib.sha256(str(path.relative_to(self.models_dir)).encode()).hexdigest()
            lock = FileLock(locks / f"{name[:32]}.lock")
            while not _acquired(lock):
                watch.waiting()
        except OSError as error:
            raise DownloadFailed(f"{path.name} could not be written: {error.strerror}") from error
        try:
            yield
        finally:
            lock.release()


def _never() -> None:
    """The check of what nobody stops."""


def _acquired(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=_LOOK_EVERY_S)
    except Timeout:
        return False
    return True


def preset_downloads(preset: Preset) -> dict[tuple[str, str], ModelFile]:
    """The files whose URLs a preset gives, by folder and name."""
    by_folder = {
        CHECKPOINTS: preset.checkpoint_downloads,
        LORAS: preset.lora_downloads,
        EMBEDDINGS: preset.embeddings_downloads,
        VAES: preset.vae_downloads,
    }
    return {
        (folder, name): ModelFile(folder, name, url)
        for folder, files in by_folder.items()
        for name, url in files.items()
        if _stays_inside(name) and _is_web_address(url)
    }


def _sound_presets(presets: PresetStore) -> Iterator[Preset]:
    for name in presets.names():
        if name == INITIAL:  # a second name of one of the others
            continue
        try:
            yield presets.load(name)
        except PipelineError as error:  # a broken preset hides only its own files
            log.warning("its downloads are not known: %s", error)


def _stays_inside(name: str) -> bool:
    """Whether a name, from a preset that may be from anywhere, stays below its folder."""
    parts = PurePosixPath(name).parts
    risky = any(part.startswith(".") or part == "/" for part in parts)
    return bool(parts) and not risky and not any(sign in name for sign in "\\:\0")


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # such as a port that is no number
        return False


class _Told:
    """Reports the progress of a download, at most four times a second."""

    def __init__(
        self,
        name: str,
        check: Callable[[], None],
        reporter: Reporter | None,
        tell: OnProgress | None,
    ) -> None:
        self._name = name
        self._check = check
        self._reporter = reporter
        self._tell = tell
        self._told_at = float("-inf")

    def check(self) -> None:
        """Raise if it was stopped: TaskAborted for a task."""
        self._check()

    def progress(self, received: int, total: int) -> None:
        """Report the bytes so far."""
        now = time.monotonic()
        if received != total and now - self._told_at < _TELL_EVERY_S:
            return
        self._told_at = now
        if self._tell is not None:
            self._tell(self._name, received, total)
        of = f" of {megabytes(total)}" if total else ""
        self._say(f"Downloading {self._name}, {megabytes(received)}{of} MB ...")

    def waiting(self) -> None:
        """Report that another task fetches the same file."""
        self.check()
        self._say(f"Waiting for the download of {self._name} ...")

    def _say(self, message: str) -> None:
        if self._reporter is not None:
            self._reporter.progress(0, message)
