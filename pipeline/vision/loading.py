"""The vision models as they are asked for: found on disk, loaded once, kept by the manager."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from pipeline.files.vision import VisionFiles
from pipeline.models.manager import ModelManager
from pipeline.request.choices import MaskModel, SamModel
from pipeline.scheduling.task import Reporter
from pipeline.vision.background import load_foreground
from pipeline.vision.describe import Captioner, load_captioner
from pipeline.vision.detection import Detector, load_detector
from pipeline.vision.onnx_runtime import check_installed
from pipeline.vision.safety import SafetyChecker, load_safety_checker
from pipeline.vision.segment import Segmenter, load_segmenter
from pipeline.vision.sessions import Session
from pipeline.vision.tagger import Tagger, load_tagger

T = TypeVar("T")


class VisionModels:
    """Loads vision models for one task, or for a tool if there is no ``reporter``.

    Device thread only. All methods raise ModelNotInstalled, DownloadFailed, InvalidModelFile.
    """

    def __init__(
        self,
        manager: ModelManager,
        files: VisionFiles,
        device: torch.device,
        reporter: Reporter | None = None,
    ) -> None:
        self._manager = manager
        self._files = files
        self._device = device
        self._reporter = reporter

    def background(self, model: MaskModel) -> Session:
        """A foreground model."""
        path = self._files.background(model, self._reporter)
        return self._get("mask", path, lambda: load_foreground(path, model, self._device))

    def detector(self) -> Detector:
        """What finds things by words."""
        path = self._files.detector(self._reporter)
        return self._get("detector", path, lambda: load_detector(path, self._device))

    def segmenter(self, size: SamModel) -> Segmenter:
        """What draws the outline of a thing."""
        path = self._files.sam(size, self._reporter)
        return self._get("sam", path, lambda: load_segmenter(path, self._device))

    def captioner(self) -> Captioner:
        """What puts a photograph into words."""
        path = self._files.captioner(self._reporter)
        return self._get("captioner", path, lambda: load_captioner(path, self._device))

    def tagger(self) -> Tagger:
        """What puts a drawing into tags."""
        check_installed("the tagger")  # before its files are fetched
        model, table = self._files.tagger(self._reporter)
        return self._get("tagger", model, lambda: load_tagger(model, table, self._device))

    def safety_checker(self) -> SafetyChecker:
        """What tells pictures that are not fit for work."""
        path = self._files.safety_checker(self._reporter)
        return self._get("safety", path, lambda: load_safety_checker(path, self._device))

    def _get(self, kind: str, path: Path, load: Callable[[], T]) -> T:
        return self._manager.auxiliary(
            kind, path.name, path, lambda _path: load(), reporter=self._reporter
        )
