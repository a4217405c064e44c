"""Progress of a task: percentages, messages and previews for the reporter."""

from collections.abc import Callable
from typing import Final

from torch import Tensor

from pipeline.engine.preview import MIME, draw_preview
from pipeline.sampling.interface import OnStep
from pipeline.sampling.latent_format import LatentRgb
from pipeline.scheduling.task import Reporter

PREPARED: Final = 13  # percent of a task when its first image begins


class TaskProgress:
    """Where a task is: which image, and which run of it. An image's first run makes it, the others
    enhance it."""

    def __init__(
        self,
        reporter: Reporter,
        images: int,
        runs: int = 1,
        check_files: Callable[[], None] = lambda: None,
    ) -> None:
        """``check_files`` is called at each step, and raises if a model in use has changed."""
        self.images = images
        self._reporter = reporter
        self._check_files = check_files
        self._runs = runs  # of each image
        self._image = 1  # from 1, as is the run
        self._run = 1

    def begin_image(self, image: int) -> None:
        """Image ``image`` (from 1) begins. Raises TaskAborted, ImageSkipped."""
        self._image, self._run = image, 1
        self._reporter.begin_image(image, self.images)
        self._report(0.0, f"Preparing task {image}/{self.images} ...")
        self._reporter.check()
        self._check_files()

    def begin_run(self, run: int) -> None:
        """Run ``run`` (from 1) of the image begins."""
        self._run = run

    def saving(self) -> None:
        """The result of the run is encoded and saved."""
        self._report(1.0, f"Saving image {self._image}/{self.images} to system ...")

    def on_step(self, steps: int, rgb: LatentRgb) -> OnStep:
        """The callback of a run of so many steps: stop and skip, preview, progress."""

        def report(index: int, denoised: Tensor) -> None:
            self._reporter.check()
            self._check_files()
            if self._reporter.wants_preview():
                self._reporter.preview(draw_preview(denoised, rgb), MIME)
            step = min(index + 1, steps)  # an adaptive sampler may take more
            message = f"Sampling step {step}/{steps}, {self._place()} ..."
            percent = self._percent((step - 1) / steps)
            self._reporter.progress(percent, message, step=step, steps=steps)

        return report

    def _report(self, share: float, message: str) -> None:
        self._reporter.progress(self._percent(share), message)

    def _percent(self, share: float) -> int:
        """Percent of the task when ``share`` (0...1) of this run is done."""
        runs = (self._image - 1) * self._runs + self._run - 1
        return int(PREPARED + (100 - PREPARED) * (runs + share) / (self._runs * self.images))

    def _place(self) -> str:
        enhancing = f", enhancement {self._run - 1}/{self._runs - 1}" if self._run > 1 else ""
        return f"image {self._image}/{self.images}{enhancing}"
