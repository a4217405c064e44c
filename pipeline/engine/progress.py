"""Progress of a task: percentages, messages and previews for the reporter."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from torch import Tensor

from pipeline.engine.preview import MIME, draw_preview
from pipeline.errors import PipelineError
from pipeline.sampling.interface import OnStep
from pipeline.sampling.latent_format import LatentRgb
from pipeline.scheduling.task import Reporter

PREPARED: Final = 13  # percent of a task when its first image begins


class TaskProgress:
    """Where a task is: which images, and which run of them. An image's first run makes it, maybe
    together with its neighbours; the others enhance it, alone."""

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
        self._batch: Sequence[int] = (1,)  # numbers of the images whose first runs are one
        self._image = 1  # the one at work, from 1, as is the run
        self._run = 1

    def begin_batch(self, images: Sequence[int]) -> None:
        """The images of these numbers (from 1) begin together. Raises TaskAborted, and ImageSkipped
        for the first of them."""
        self._batch, self._image, self._run = images, images[0], 1
        self._reporter.begin_image(self._image, self.images)
        self._report(0.0, f"Preparing task {self._image}/{self.images} ...")
        self._reporter.check()
        self._check_files()

    def finish_image(self, image: int) -> None:
        """Image ``image`` of the batch has been made, and is saved and enhanced next.

        Raises TaskAborted if the task was stopped since the first of the batch was finished.
        """
        self._run = 1
        if image != self._image:
            self._image = image
            self._reporter.begin_image(image, self.images)
            self._reporter.check()

    def begin_run(self, run: int) -> None:
        """Run ``run`` (from 2) of the image begins, which enhances it."""
        self._run = run

    def saving(self) -> None:
        """The result of the run is encoded and saved."""
        self._report(1.0, f"Saving image {self._image}/{self.images} to system ...")

    def on_step(self, steps: int, rgb: LatentRgb) -> OnStep:
        """The callback of a run of so many steps: stop and skip, preview, progress."""
        (only,) = self.on_steps((self._image,), steps, rgb)
        return only

    def on_steps(self, images: Sequence[int], steps: int, rgb: LatentRgb) -> list[OnStep]:
        """``on_step`` of each of several images that are made in one run."""
        following = _Following(self, images, steps, rgb)
        return [partial(following, image) for image in images]

    def check(self) -> None:
        """Raise what a client's request to stop or skip, or a changed model file, raises."""
        self._reporter.check()
        self._check_files()

    def stepped(
        self,
        images: Sequence[int],
        guesses: Sequence[Tensor],
        step: int,
        steps: int,
        rgb: LatentRgb,
    ) -> None:
        """The images were guessed at a step (from 1)."""
        if images[0] != self._image:  # the ones before it were skipped
            self._image = images[0]
            self._reporter.begin_image(self._image, self.images)
        if self._reporter.wants_preview():
            self._reporter.preview(draw_preview(guesses, rgb), MIME)
        message = f"Sampling step {step}/{steps}, {self._place(images)} ..."
        percent = self._percent((step - 1) / steps)
        self._reporter.progress(percent, message, step=step, steps=steps)

    def _report(self, share: float, message: str) -> None:
        self._reporter.progress(self._percent(share), message)

    def _percent(self, share: float) -> int:
        """Percent of the task when ``share`` (0...1) of this run is done.

        The first runs of a batch come before the other runs of its images.
        """
        done = (self._batch[0] - 1) * self._runs
        if self._run == 1:
            done_now = share * len(self._batch)
        else:
            others = self._batch.index(self._image) * (self._runs - 1) + self._run - 2
            done_now = len(self._batch) + others + share
        return int(PREPARED + (100 - PREPARED) * (done + done_now) / (self._runs * self.images))

    def _place(self, images: Sequence[int]) -> str:
        enhancing = f", enhancement {self._run - 1}/{self._runs - 1}" if self._run > 1 else ""
        if len(images) > 1:
            return f"images {images[0]}-{images[-1]}/{self.images}{enhancing}"
        return f"image {images[0]}/{self.images}{enhancing}"


class _Following:
    """What the images of one run have come to: told of once a step, with all that are left."""

    def __init__(
        self, progress: TaskProgress, images: Sequence[int], steps: int, rgb: LatentRgb
    ) -> None:
        self._progress = progress
        self._left = list(images)
        self._steps = steps
        self._rgb = rgb
        self._guesses: dict[int, Tensor] = {}

    def __call__(self, image: int, index: int, denoised: Tensor) -> None:
        """As ``OnStep``, of the image of that number."""
        try:
            self._progress.check()
        except PipelineError:
            self._left.remove(image)
            raise
        self._guesses[image] = denoised
        if image == self._left[-1]:
            guesses = [self._guesses[each] for each in self._left]
            step = min(index + 1, self._steps)  # an adaptive sampler may take more
            self._progress.stepped(self._left, guesses, step, self._steps, self._rgb)
