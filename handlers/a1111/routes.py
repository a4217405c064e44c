"""Every URL of the family."""

from typing import Final

from aiohttp import web

from handlers.a1111 import catalog
from handlers.a1111.generate import img2img, options, set_options, txt2img
from handlers.a1111.progress import interrupt, progress, skip
from handlers.a1111.samplers import Sampler, Scheduler, samplers, schedulers
from handlers.a1111.tools import extra_single_image, interrogate, png_info
from handlers.http.refusal import Handler
from handlers.keys import CATALOG, STYLES

_ROOT: Final = "/sdapi/v1"
_LISTINGS: Final[dict[str, Handler]] = {
    "samplers": catalog.listing("samplers", "Samplers", list[Sampler], lambda _: samplers()),
    "schedulers": catalog.listing(
        "schedulers", "Noise schedules", list[Scheduler], lambda _: schedulers()
    ),
    "sd-models": catalog.listing(
        "sd_models",
        "Checkpoints",
        list[catalog.SdModel],
        lambda app: catalog.sd_models(app[CATALOG]),
    ),
    "sd-vae": catalog.listing(
        "sd_vae", "VAEs", list[catalog.ModelEntry], lambda app: catalog.sd_vaes(app[CATALOG])
    ),
    "sd-modules": catalog.listing(
        "sd_modules",
        "VAEs, as Forge lists them",
        list[catalog.ModelEntry],
        lambda app: catalog.sd_vaes(app[CATALOG]),
    ),
    "loras": catalog.listing(
        "loras", "LoRAs", list[catalog.LoraEntry], lambda app: catalog.loras(app[CATALOG])
    ),
    "embeddings": catalog.listing(
        "embeddings",
        "Textual inversions",
        catalog.Embeddings,
        lambda app: catalog.embeddings(app[CATALOG]),
    ),
    "upscalers": catalog.listing(
        "upscalers",
        "Upscalers",
        list[catalog.UpscalerEntry],
        lambda app: catalog.upscalers(app[CATALOG]),
    ),
    "latent-upscale-modes": catalog.listing(
        "latent_upscale_modes", "None: latents are not enlarged", list[str], lambda _: []
    ),
    "prompt-styles": catalog.listing(
        "prompt_styles",
        "Styles",
        list[catalog.PromptStyle],
        lambda app: catalog.prompt_styles(app[STYLES]),
    ),
    "hypernetworks": catalog.listing("hypernetworks", "None", list[str], lambda _: []),
    "face-restorers": catalog.listing("face_restorers", "None", list[str], lambda _: []),
    "realesrgan-models": catalog.listing("realesrgan_models", "None", list[str], lambda _: []),
    "scripts": catalog.listing("scripts", "None", catalog.Scripts, lambda _: catalog.Scripts()),
    "script-info": catalog.listing("script_info", "None", list[str], lambda _: []),
    "cmd-flags": catalog.listing("cmd_flags", "None", dict[str, str], lambda _: {}),
    "memory": catalog.listing(
        "memory", "Main memory", catalog.MemoryReply, lambda _: catalog.memory_reply()
    ),
}


def routes() -> list[web.RouteDef]:
    """The family's routes; its settings are the application's ``CHOSEN_SETTINGS``."""
    return [
        web.post(f"{_ROOT}/txt2img", txt2img),
        web.post(f"{_ROOT}/img2img", img2img),
        web.get(f"{_ROOT}/options", options),
        web.post(f"{_ROOT}/options", set_options),
        web.get(f"{_ROOT}/progress", progress),
        web.post(f"{_ROOT}/interrupt", interrupt),
        web.post(f"{_ROOT}/skip", skip),
        web.post(f"{_ROOT}/png-info", png_info),
        web.post(f"{_ROOT}/interrogate", interrogate),
        web.post(f"{_ROOT}/extra-single-image", extra_single_image),
        web.post(f"{_ROOT}/unload-checkpoint", catalog.unload_checkpoint),
        *(
            web.post(f"{_ROOT}/{name}", catalog.refreshing(name.replace("-", "_")))
            for name in (
                "refresh-checkpoints",
                "refresh-vae",
                "refresh-loras",
                "refresh-embeddings",
                "reload-checkpoint",
            )
        ),
        *(web.get(f"{_ROOT}/{name}", handler) for name, handler in _LISTINGS.items()),
    ]
