"""The values of parameters with a fixed choice, in Fooocus's spelling."""

from typing import Final, Literal, get_args

Performance = Literal["Quality", "Speed", "Extreme Speed", "Lightning", "Hyper-SD"]
OutputFormat = Literal["png", "jpg", "jpeg", "webp"]
UovMethod = Literal[
    "Disabled",
    "Vary (Subtle)",
    "Vary (Strong)",
    "Upscale (1.5x)",
    "Upscale (2x)",
    "Upscale (Fast 2x)",
    "Upscale (Custom)",
]
OutpaintSide = Literal["Left", "Right", "Top", "Bottom"]
SwapMethod = Literal["joint", "separate", "vae"]
InpaintEngine = Literal["None", "v1", "v2.5", "v2.6"]
MetadataScheme = Literal["fooocus", "a1111"]
ControlNetType = Literal["ImagePrompt", "FaceSwap", "PyraCanny", "CPDS"]
EnhanceOrder = Literal["Before First Enhancement", "After Last Enhancement"]
EnhancePrompts = Literal["Original Prompts", "Last Filled Enhancement Prompts"]
MaskModel = Literal[
    "u2net",
    "u2netp",
    "u2net_human_seg",
    "u2net_cloth_seg",
    "silueta",
    "isnet-general-use",
    "isnet-anime",
    "sam",
]
ClothCategory = Literal["full", "upper", "lower"]
SamModel = Literal["vit_b", "vit_l", "vit_h"]
SamplerName = Literal[
    "euler",
    "euler_ancestral",
    "heun",
    "heunpp2",
    "dpm_2",
    "dpm_2_ancestral",
    "lms",
    "dpm_fast",
    "dpm_adaptive",
    "dpmpp_2s_ancestral",
    "dpmpp_sde",
    "dpmpp_sde_gpu",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "dpmpp_2m_sde_gpu",
    "dpmpp_3m_sde",
    "dpmpp_3m_sde_gpu",
    "ddpm",
    "lcm",
    "tcd",
    "restart",
    "ddim",
    "uni_pc",
    "uni_pc_bh2",
]
SchedulerName = Literal[
    "normal",
    "karras",
    "exponential",
    "sgm_uniform",
    "simple",
    "ddim_uniform",
    "lcm",
    "turbo",
    "align_your_steps",
    "tcd",
    "edm_playground_v2.5",
]

PERFORMANCES: Final[tuple[str, ...]] = get_args(Performance)
SAMPLER_NAMES: Final[tuple[str, ...]] = get_args(SamplerName)
SCHEDULER_NAMES: Final[tuple[str, ...]] = get_args(SchedulerName)

EMBEDDED: Final = "embedded"  # the checkpoint that ships with the server
NO_MODEL: Final = "None"  # Fooocus's word for an empty refiner or LoRA slot
DEFAULT_VAE: Final = "Default (model)"
DEFAULT_UPSCALER: Final = "Default"  # Fooocus's, or the embedded model's own
