"""The published model files: folder, name, URL and checksum of each.

Presets name more files; those are in the preset files.
"""

from typing import Final

import msgspec

from pipeline.files.catalog import LORAS, PROMPT_EXPANSION, UPSCALERS
from pipeline.request.model_file import ModelFile
from pipeline.request.performance import FAST_MODES

CLIP_VISION: Final = "clip_vision"
CONTROLNET: Final = "controlnet"
INPAINT: Final = "inpaint"
REMBG: Final = "rembg"
SAFETY_CHECKER: Final = "safety_checker"
SAM: Final = "sam"
VAE_APPROX: Final = "vae_approx"

_FOOOCUS: Final = "https://huggingface.co/lllyasviel/misc/resolve/main/"
_FOOOCUS_LATER: Final = "https://huggingface.co/mashb1t/misc/resolve/main/"
_FOOOCUS_INPAINT: Final = "https://huggingface.co/lllyasviel/fooocus_inpaint/resolve/main/"
_OPENCV: Final = "https://huggingface.co/opencv/face_detection_yunet/resolve/main/"
_HUB: Final = "https://huggingface.co"
_REMBG: Final = "https://github.com/danielgatis/rembg/releases/download/v0.0.0/"


class KnownFolder(msgspec.Struct, frozen=True):
    """A folder below the models folder that mirrors a Hugging Face repository."""

    title: str  # of the model, in messages
    folder: str  # below the models folder, such as "blip/blip-image-captioning-base"
    repository: str
    names: tuple[str, ...]

    @property
    def source(self) -> str:
        """The page of the repository."""
        return f"{_HUB}/{self.repository}"

    @property
    def files(self) -> tuple[ModelFile, ...]:
        """Its files."""
        base = f"{self.source}/resolve/main/"
        return tuple(ModelFile(self.folder, name, f"{base}{name}") for name in self.names)


INPAINT_HEAD: Final = ModelFile(
    INPAINT, "fooocus_inpaint_head.pth", f"{_FOOOCUS_INPAINT}fooocus_inpaint_head.pth"
)
# By the value of the parameter inpaint_engine.
INPAINT_PATCHES: Final = {
    "v1": ModelFile(INPAINT, "inpaint.fooocus.patch", f"{_FOOOCUS_INPAINT}inpaint.fooocus.patch"),
    "v2.5": ModelFile(
        INPAINT, "inpaint_v25.fooocus.patch", f"{_FOOOCUS_INPAINT}inpaint_v25.fooocus.patch"
    ),
    "v2.6": ModelFile(
        INPAINT, "inpaint_v26.fooocus.patch", f"{_FOOOCUS_INPAINT}inpaint_v26.fooocus.patch"
    ),
}
CANNY_CONTROL: Final = ModelFile(
    CONTROLNET,
    "control-lora-canny-rank128.safetensors",
    f"{_FOOOCUS}control-lora-canny-rank128.safetensors",
)
CPDS_CONTROL: Final = ModelFile(
    CONTROLNET, "fooocus_xl_cpds_128.safetensors", f"{_FOOOCUS}fooocus_xl_cpds_128.safetensors"
)
IMAGE_PROMPT_ADAPTER: Final = ModelFile(
    CONTROLNET, "ip-adapter-plus_sdxl_vit-h.bin", f"{_FOOOCUS}ip-adapter-plus_sdxl_vit-h.bin"
)
FACE_ADAPTER: Final = ModelFile(
    CONTROLNET,
    "ip-adapter-plus-face_sdxl_vit-h.bin",
    f"{_FOOOCUS}ip-adapter-plus-face_sdxl_vit-h.bin",
)
ADAPTER_NEGATIVE: Final = ModelFile(
    CONTROLNET, "fooocus_ip_negative.safetensors", f"{_FOOOCUS}fooocus_ip_negative.safetensors"
)
FACE_DETECTOR: Final = ModelFile(
    CONTROLNET,
    "face_detection_yunet_2023mar.onnx",
    f"{_OPENCV}face_detection_yunet_2023mar.onnx",
)
IMAGE_ENCODER: Final = ModelFile(
    CLIP_VISION, "clip_vision_vit_h.safetensors", f"{_FOOOCUS}clip_vision_vit_h.safetensors"
)
UPSCALER: Final = ModelFile(
    UPSCALERS, "fooocus_upscaler_s409985e5.bin", f"{_FOOOCUS}fooocus_upscaler_s409985e5.bin"
)
INTERPOSER: Final = ModelFile(
    VAE_APPROX,
    "xl-to-v1_interposer-v4.0.safetensors",
    f"{_FOOOCUS_LATER}xl-to-v1_interposer-v4.0.safetensors",
)
EXPANSION_MODEL: Final = ModelFile(
    f"{PROMPT_EXPANSION}/fooocus_expansion",
    "pytorch_model.bin",
    f"{_FOOOCUS}fooocus_expansion.bin",
)
SAFETY_MODEL: Final = ModelFile(
    SAFETY_CHECKER,
    "stable-diffusion-safety-checker.bin",
    f"{_FOOOCUS_LATER}stable-diffusion-safety-checker.bin",
)
# By the names that the parameters of mask tools use.
SAM_MODELS: Final = {
    "vit_b": ModelFile(SAM, "sam_vit_b_01ec64.pth", f"{_FOOOCUS_LATER}sam_vit_b_01ec64.pth"),
    "vit_l": ModelFile(SAM, "sam_vit_l_0b3195.pth", f"{_FOOOCUS_LATER}sam_vit_l_0b3195.pth"),
    "vit_h": ModelFile(SAM, "sam_vit_h_4b8939.pth", f"{_FOOOCUS_LATER}sam_vit_h_4b8939.pth"),
}
# The checksums are those that rembg itself checks.
BACKGROUND_MODELS: Final = {
    name: ModelFile(REMBG, f"{name}.onnx", f"{_REMBG}{name}.onnx", f"md5:{md5}")
    for name, md5 in {
        "u2net": "60024c5c889badc19c04ad937298a77b",
        "u2netp": "8e83ca70e441ab06c318d82300c84806",
        "u2net_human_seg": "c09ddc2e0104f800e3e1bb4652583d1f",
        "u2net_cloth_seg": "2434d1f3cb744e0e49386c906e5a08bb",
        "silueta": "55e59e0d8062d2f5d013f4725ee84782",
        "isnet-general-use": "fc16ebd8b0c10d971d3513d564d01e29",
        "isnet-anime": "6f184e756bb3bd901c8849220a83e38e",
    }.items()
}
_TRANSFORMERS_FILES: Final = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)
DETECTOR: Final = KnownFolder(
    "Grounding DINO",
    "grounding_dino/grounding-dino-tiny",
    "IDEA-Research/grounding-dino-tiny",
    _TRANSFORMERS_FILES,
)
CAPTIONER: Final = KnownFolder(
    "BLIP",
    "blip/blip-image-captioning-base",
    "Salesforce/blip-image-captioning-base",
    _TRANSFORMERS_FILES,
)
TAGGER: Final = KnownFolder(
    "the WD14 tagger",
    "wd14/wd-v1-4-moat-tagger-v2",
    "SmilingWolf/wd-v1-4-moat-tagger-v2",
    ("model.onnx", "selected_tags.csv"),
)

KNOWN_FILES: Final = (
    *(ModelFile(LORAS, mode.lora, mode.url) for mode in FAST_MODES.values()),
    INPAINT_HEAD,
    *INPAINT_PATCHES.values(),
    CANNY_CONTROL,
    CPDS_CONTROL,
    IMAGE_PROMPT_ADAPTER,
    FACE_ADAPTER,
    ADAPTER_NEGATIVE,
    FACE_DETECTOR,
    IMAGE_ENCODER,
    UPSCALER,
    INTERPOSER,
    EXPANSION_MODEL,
    SAFETY_MODEL,
    *SAM_MODELS.values(),
    *BACKGROUND_MODELS.values(),
    *DETECTOR.files,
    *CAPTIONER.files,
    *TAGGER.files,
)


def find_known(folder: str, name: str) -> ModelFile | None:
    """The published file of that name in that folder, or None."""
    return next((file for file in KNOWN_FILES if (file.folder, file.name) == (folder, name)), None)
