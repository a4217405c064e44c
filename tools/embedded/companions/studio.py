"""Pictures of the embedded model with its companions, through the server's own parts."""

from pathlib import Path
from typing import Any, Final

import msgspec
import torch
from PIL import Image

from pipeline.adapters.control import Control, hint_tensor
from pipeline.adapters.control_lora import load_control
from pipeline.adapters.inpaint_head import load_inpaint_head
from pipeline.adapters.ip_adapter import load_adapter
from pipeline.adapters.ip_attention import ImagePrompt
from pipeline.engine.conditioned import ImageConditions, InpaintPatch
from pipeline.engine.sdxl import SdxlPipeline
from pipeline.engine.start import InitialLatents, Start
from pipeline.images.preprocessors import canny_hint, cpds_hint
from pipeline.models.checkpoint import load_checkpoint
from pipeline.models.image_encoder import load_image_encoder
from pipeline.models.manager import EMBEDDED_FOLDER
from pipeline.request.choices import EMBEDDED
from pipeline.request.decode import params_from
from pipeline.request.goals import Inpaint
from pipeline.request.plan import ImagePlan, plan_images
from pipeline.request.presets import PresetStore
from pipeline.request.prompts import PromptSources
from pipeline.request.resolved import resolve_params
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards
from pipeline.weights.lora import ChosenLora
from tools.embedded.companions.control import CONTROL_FILES
from tools.embedded.companions.image_prompt import ENCODER_FOLDER
from tools.embedded.companions.image_prompt import FILE as ADAPTER
from tools.embedded.companions.inpaint import HEAD_FILE, PATCH_FILE

ROOT: Final = EMBEDDED_FOLDER.parents[2]
NATIVE_SIDE: Final = 256
CPU: Final = torch.device("cpu")
HINTS: Final = {"canny": lambda image: canny_hint(image, 64, 128), "cpds": cpds_hint}


class Studio:
    """The model, and what steers it: every method gives what one picture is made with."""

    def __init__(self, companions: Path) -> None:
        self._folder = companions
        self._presets = PresetStore(ROOT / "presets", EMBEDDED)
        styles, wildcards = StyleLibrary(ROOT / "sdxl_styles"), Wildcards(ROOT / "wildcards")
        self._sources = PromptSources(styles, wildcards)
        self.checkpoint = load_checkpoint(EMBEDDED_FOLDER, CPU)
        self._pipeline = SdxlPipeline(self.checkpoint)
        self._loaded: dict[str, Any] = {}

    def paint(
        self, prompt: str, seed: int, conditions: ImageConditions | None = None
    ) -> Image.Image:
        """At the preset's defaults."""
        return self._make(self._plan(prompt, seed), None, conditions)

    def shown(self, image: Image.Image, weight: float, stop: float = 1.0) -> ImageConditions:
        """An image prompt."""
        folder = self._folder / ENCODER_FOLDER
        encoder = self._part("encoder", lambda: load_image_encoder(folder, CPU))
        unet = self.checkpoint.unet.module
        adapter = self._part("adapter", lambda: load_adapter(self._folder / ADAPTER, unet, CPU))
        tokens = adapter.tokens(image, encoder)
        prompt = ImagePrompt(adapter, tokens.positive, tokens.negative, weight, stop)
        return ImageConditions(prompts=(prompt,))

    def hinted(
        self, kind: str, image: Image.Image, weight: float, stop: float = 1.0
    ) -> ImageConditions:
        """A control, with the hint that the server takes from the picture."""
        path = self._folder / CONTROL_FILES[kind]
        network = self._part(kind, lambda: load_control(path, self.checkpoint.unet, CPU))
        control = Control(network, hint_tensor(HINTS[kind](image)), weight, stop)
        return ImageConditions(controls=(control,))

    def inpaint(
        self, prompt: str, seed: int, image: Image.Image, mask: Image.Image, *, patched: bool
    ) -> Image.Image:
        """The whole picture painted anew under the mask, with or without head and patch."""
        goal = Inpaint(engine="v2.6" if patched else "None", field=1.0)
        start = InitialLatents(self.checkpoint.vae, seed, NATIVE_SIDE).start(goal, image, mask)
        plan = self._plan(prompt, seed, goal=goal)
        conditions = ImageConditions()
        surroundings = start.inpaint.surroundings if start.inpaint else None
        if surroundings is not None:
            head = self._part("head", lambda: load_inpaint_head(self._folder / HEAD_FILE))
            patch = ChosenLora(PATCH_FILE, self._folder / PATCH_FILE, 1.0)
            self.checkpoint.loras.use([patch])
            feature = head.feature(surroundings, self.checkpoint.model_sampling.latents)
            conditions = ImageConditions(
                inpaint=InpaintPatch(feature, self.checkpoint.loras.remove)
            )
        return self._make(plan, start, conditions)

    def _make(
        self, plan: ImagePlan, start: Start | None, conditions: ImageConditions | None
    ) -> Image.Image:
        with torch.inference_mode():
            image = self._pipeline.make(plan, lambda _index, _denoised: None, start, conditions)
            self.checkpoint.loras.remove()
        return image.convert("RGB")

    def _plan(self, prompt: str, seed: int, goal: Inpaint | None = None) -> ImagePlan:
        asked: dict[str, Any] = {"prompt": prompt, "image_seed": seed, "preset": EMBEDDED}
        params = self._presets.apply(params_from(asked), frozenset(asked))
        request = resolve_params(params, self._presets.describing(params))
        plan = plan_images(request, self._sources)[0]
        if goal is None or not goal.patched:
            return plan
        # As the server plans it: the model without its patch finishes the last fifth.
        return msgspec.structs.replace(
            plan, inpaint_engine=goal.engine, switch=round(plan.sampling.steps * 0.8)
        )

    def _part(self, name: str, load: Any) -> Any:
        if name not in self._loaded:
            self._loaded[name] = load()
        return self._loaded[name]
