"""OpenVINO files (IR) of checkpoints, each made once and kept by a hash of the weights."""

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from pipeline.files.hashes import hash_file
from pipeline.files.stamp import Stamp, stamp_of

log = logging.getLogger(__name__)

FOLDER: Final = ".openvino"  # below the models folder

_FORMAT: Final = 1  # of what is exported; raised when that changes
_MAKING: Final = "making-"
_PROGRAM: Final = "pipeline.models.openvino_export"
_ROOT: Final = Path(__file__).parents[2]
_EXPORT_S: Final = 3600.0
_NICE: Final = 10  # pictures come first
_DIGITS: Final = 16
_TOLD: Final = 300  # characters of the program's last words


class ExportFailed(Exception):
    """A checkpoint could not be exported; the message says why."""


class IrFiles:
    """The folders of exported checkpoints below a models folder. Hold ``lock`` meanwhile."""

    def __init__(self, models_dir: Path) -> None:
        self.lock = threading.Lock()
        self._folder = models_dir / FOLDER
        self._digests: dict[tuple[Path, Stamp], str] = {}

    def folder_of(self, checkpoint: Path, version: str) -> Path:
        """The folder with the IR of a checkpoint (file or folder) for a version of OpenVINO.

        Takes as long as reading the file, and for the first time minutes. Raises ExportFailed.
        """
        try:
            key = (checkpoint, stamp_of(checkpoint))
            if key not in self._digests:
                self._digests[key] = _digest(checkpoint)
            folder = self._folder / f"{self._digests[key]}-{_FORMAT}-{version}"
            if not folder.is_dir():
                self._export(checkpoint, folder)
        except (OSError, subprocess.SubprocessError) as error:
            raise ExportFailed(f"the export failed: {error}") from error
        return folder

    def _export(self, checkpoint: Path, folder: Path) -> None:
        """Export in a process of its own, and have the folder whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob(f"{_MAKING}*"):  # by a server that was killed meanwhile
            with suppress(FileNotFoundError):  # another process has ended its own
                if time.time() - left.stat().st_mtime > _EXPORT_S:
                    shutil.rmtree(left, ignore_errors=True)
        making = Path(tempfile.mkdtemp(dir=self._folder, prefix=_MAKING))
        try:
            log.info("exporting %s for OpenVINO, once, in the background", checkpoint.name)
            program = [sys.executable, "-m", _PROGRAM, str(checkpoint.absolute()), str(making)]
            # A pipe as standard input: it ends with this process, and the program with it.
            ended = _run(program)
            if ended.returncode:
                raise ExportFailed(f"the export failed: {_last_words(ended.stderr)}")
            try:
                making.rename(folder)
            except OSError:  # another process of the same models folder was first
                if not folder.is_dir():
                    raise
        finally:
            shutil.rmtree(making, ignore_errors=True)


def _run(program: list[str]) -> "subprocess.CompletedProcess[bytes]":
    process = subprocess.Popen(  # noqa: S603 - this program's own module
        program,
        cwd=_ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    timer = threading.Timer(_EXPORT_S, process.kill)
    timer.start()
    with process:
        try:
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
            # Not communicate(), which closes the pipe at once.
            said = process.stderr.read() if process.stderr else b""
            process.wait()
        finally:
            timer.cancel()
            process.kill()  # nothing if it has ended
    return subprocess.CompletedProcess(program, process.returncode, b"", said)


def _digest(checkpoint: Path) -> str:
    """The first digits of a SHA-256 over all weights of a checkpoint. Raises ExportFailed."""
    if checkpoint.is_dir():
        parts = ("unet", "vae")
        files = [file for part in parts for file in sorted((checkpoint / part).iterdir())]
    else:
        files = [checkpoint]
    whole = hashlib.sha256()
    for file in files:
        hashes = hash_file(file, tensors=False)
        if hashes is None:
            raise ExportFailed(f"{file.name} changed while it was read")
        whole.update(hashes.sha256.encode("ascii"))
    return whole.hexdigest()[:_DIGITS]


def _last_words(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:_TOLD] if lines else "it said nothing"
