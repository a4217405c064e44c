"""Pictures of the embedded model through the server's own engine, at its preset's defaults."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from PIL import Image

from pipeline.engine.engine import load_engine
from pipeline.engine.options import EngineOptions
from pipeline.files.catalog import ModelCatalog
from pipeline.files.library import Library
from pipeline.files.locate import ModelFiles
from pipeline.request.choices import EMBEDDED
from pipeline.request.decode import params_from
from pipeline.request.presets import PresetStore
from pipeline.request.resolved import resolve_params
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards
from pipeline.scheduling.task import MadeImage, Task

ROOT: Final = Path(__file__).parent.parent.parent


class Collector:
    """A reporter that keeps the pictures and tells nobody."""

    def __init__(self) -> None:
        self.made: list[MadeImage] = []
        self.notes: dict[str, object] = {}

    def check(self) -> None:
        """Nobody stops this run."""

    def progress(self, percent: int, message: str, *, step: int = 0, steps: int = 0) -> None:
        """Nobody watches it either."""

    def begin_image(self, image: int, images: int) -> None:
        """Every task here makes one picture."""

    def wants_preview(self) -> bool:
        return False

    def preview(self, data: bytes, mime: str) -> None:
        """Never called: no preview is wanted."""

    def image(self, made: MadeImage) -> None:
        self.made.append(made)

    def note(self, key: str, value: object) -> None:
        self.notes[key] = value

    def model(self, kind: str, name: str, seconds: float | None) -> None:
        """Loading is not reported."""


class Painter:
    """One prompt and seed in, one picture out; ``changes`` are request fields set otherwise."""

    def __init__(
        self,
        device: str = "auto",
        changes: Mapping[str, Any] | None = None,
        options: EngineOptions | None = None,
        models_dir: Path = ROOT / "models",
    ) -> None:
        self._presets = PresetStore(ROOT / "presets", EMBEDDED)
        library = Library(
            ModelFiles(ModelCatalog(models_dir), allowed=False),
            self._presets,
            StyleLibrary(ROOT / "sdxl_styles"),
            Wildcards(ROOT / "wildcards"),
        )
        self._engine = load_engine(device, library, options=options)
        self._changes = dict(changes or {})
        # The first picture reads the model; what is timed later is the painting alone.
        self._engine.preload(EMBEDDED)

    def wait_for_engines(self, timeout_s: float) -> bool:
        """Wait for what is prepared behind a first picture; whether it was in time."""
        return self._engine.wait_for_engines(timeout_s)

    def __call__(self, prompt: str, seed: int) -> Image.Image:
        asked = {"prompt": prompt, "image_seed": seed, "preset": EMBEDDED, **self._changes}
        params = self._presets.apply(params_from(asked), frozenset(asked))
        params = msgspec.structs.replace(params, save_metadata_to_images=False)
        collector = Collector()
        request = resolve_params(params, self._presets.describing(params))
        self._engine(Task(task_id=f"paint-{seed}", request=request, in_queue_mills=0), collector)
        return Image.open(io.BytesIO(collector.made[0].data)).convert("RGB")
