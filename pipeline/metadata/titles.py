"""The names that other programs have for samplers, schedulers and parameters."""

from collections.abc import Mapping
from typing import Final

# Names that other tools know samplers by; the others keep their own. Of two with one title, which
# are the same sampler here, the last comes back.
SAMPLER_TITLES: Final[Mapping[str, str]] = {
    "euler": "Euler",
    "euler_ancestral": "Euler a",
    "heun": "Heun",
    "dpm_2": "DPM2",
    "dpm_2_ancestral": "DPM2 a",
    "lms": "LMS",
    "dpm_fast": "DPM fast",
    "dpm_adaptive": "DPM adaptive",
    "dpmpp_2s_ancestral": "DPM++ 2S a",
    "dpmpp_sde": "DPM++ SDE",
    "dpmpp_sde_gpu": "DPM++ SDE",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_2m_sde_gpu": "DPM++ 2M SDE",
    "lcm": "LCM",
    "tcd": "TCD",
    "restart": "Restart",
    "ddim": "DDIM",
    "uni_pc": "UniPC",
}
NO_KARRAS: Final = frozenset(
    ("euler", "euler_ancestral", "heun", "dpm_fast", "dpm_adaptive", "ddim", "uni_pc")
)
# A1111's label → Fooocus's key, in the order they are written.
LABELS: Final[tuple[tuple[str, str], ...]] = (
    ("Steps", "steps"),
    ("Sampler", "sampler"),
    ("Seed", "seed"),
    ("Size", "resolution"),
    ("CFG scale", "guidance_scale"),
    ("Sharpness", "sharpness"),
    ("ADM Guidance", "adm_guidance"),
    ("Model", "base_model"),
    ("Model hash", "base_model_hash"),
    ("Performance", "performance"),
    ("Scheduler", "scheduler"),
    ("VAE", "vae"),
    ("Raw prompt", "prompt"),
    ("Raw negative prompt", "negative_prompt"),
    ("Refiner", "refiner_model"),
    ("Refiner hash", "refiner_model_hash"),
    ("Adaptive CFG", "adaptive_cfg"),
    ("CFG rescale", "guidance_rescale"),  # ours, as other programs name it
    ("Clip skip", "clip_skip"),
    ("Overwrite Switch", "overwrite_switch"),
    ("Refiner Swap Method", "refiner_swap_method"),
    ("FreeU", "freeu"),
    ("Lora hashes", "lora_hashes"),
    ("Lora weights", "lora_weights"),
    ("Version", "version"),
    ("Refiner switch", "refiner_switch"),  # ours, so that the picture can be made again
    ("Styles", "styles"),  # ours too
    ("Prompt expansion", "prompt_expansion"),  # and these
    ("Performance LoRA", "performance_lora"),
    ("Engine", "engine"),
    ("Hashes", "hashes"),  # Civitai's
)
# The labels that Fooocus shows, which its logs up to 2.1 and SimpleSDXL have as keys.
SHOWN_LABELS: Final[Mapping[str, str]] = {
    "Prompt": "prompt",
    "Negative Prompt": "negative_prompt",
    "Fooocus V2 Expansion": "prompt_expansion",
    "Styles": "styles",
    "Performance": "performance",
    "Steps": "steps",
    "Resolution": "resolution",
    "Guidance Scale": "guidance_scale",
    "Sharpness": "sharpness",
    "ADM Guidance": "adm_guidance",
    "Base Model": "base_model",
    "Refiner Model": "refiner_model",
    "Refiner Switch": "refiner_switch",
    "Overwrite Switch": "overwrite_switch",
    "Refiner Swap Method": "refiner_swap_method",
    "CFG Mimicking from TSNR": "adaptive_cfg",
    "CLIP Skip": "clip_skip",
    "Sampler": "sampler",
    "Scheduler": "scheduler",
    "VAE": "vae",
    "Seed": "seed",
    "FreeU": "freeu",
    "Metadata Scheme": "metadata_scheme",
    "Version": "version",
}

_SAMPLER_OF_TITLE: Final[Mapping[str, str]] = {
    title.lower(): name for name, title in SAMPLER_TITLES.items()
} | {
    "dpm++ 3m sde": "dpmpp_3m_sde_gpu",  # A1111's own
    "ddpm": "ddpm",  # Forge's
    "heunpp2": "heunpp2",
}
_SCHEDULER_OF_TITLE: Final[Mapping[str, str]] = {
    "karras": "karras",
    "exponential": "exponential",
    "sgm uniform": "sgm_uniform",
    "simple": "simple",
    "normal": "normal",
    "uniform": "normal",
    "ddim": "ddim_uniform",
    "ddim uniform": "ddim_uniform",
    "align your steps": "align_your_steps",
    "turbo": "turbo",
}


def sampler_title(sampler: str, scheduler: str) -> str:
    """The name by which A1111 knows a sampler, with its schedule where the two go together."""
    title = SAMPLER_TITLES.get(sampler, "")
    if title and scheduler == "karras" and sampler not in NO_KARRAS:
        return f"{title} Karras"
    return title or sampler


def sampling_of(title: str, schedule: str = "") -> tuple[str, str]:
    """Sampler and scheduler of A1111's names; "" for a scheduler that is not told or not known.

    Up to 1.8 A1111 had the schedule in the sampler's name: ``DPM++ 2M Karras``.
    """
    known = _SAMPLER_OF_TITLE.get(title.lower())
    if known is None:
        for suffix in ("Karras", "Exponential", "SGM Uniform"):
            if title.lower().endswith(f" {suffix.lower()}"):
                title, schedule = title[: -len(suffix) - 1], suffix
        known = _SAMPLER_OF_TITLE.get(title.lower(), title)
    return known, _SCHEDULER_OF_TITLE.get(schedule.lower(), "")
