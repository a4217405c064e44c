"""The family's paths. Those that are the same in our own API stand there."""

from aiohttp import web

from handlers.fooocus_api import generate, jobs
from handlers.fooocus_api.engines import clean_vram, file, ping, refresh_models


def routes() -> list[web.RouteDef]:
    """Every route of the family."""
    return [
        web.post("/v1/generation/text-to-image", generate.text_to_image),
        web.post("/v1/generation/image-upscale-vary", generate.upscale_vary_form),
        web.post("/v1/generation/image-inpaint-outpaint", generate.inpaint_form),
        web.post("/v1/generation/image-inpait-outpaint", generate.inpaint_form_misspelt),
        web.post("/v1/generation/image-prompt", generate.image_prompt_form),
        web.post("/v1/generation/image-enhance", generate.enhance_form),
        web.post("/v2/generation/text-to-image-with-ip", generate.text_with_prompts),
        web.post("/v2/generation/image-upscale-vary", generate.upscale_vary),
        web.post("/v2/generation/image-inpaint-outpaint", generate.inpaint),
        web.post("/v2/generation/image-prompt", generate.image_prompt),
        web.post("/v2/generation/image-enhance", generate.enhance),
        web.get("/v1/generation/query-job", jobs.query_job),
        web.get("/v1/generation/job-queue", jobs.job_queue),
        web.get("/v1/generation/job-history", jobs.job_history, allow_head=False),
        web.post("/v1/generation/stop", jobs.stop),
        web.post("/v1/engines/refresh-models", refresh_models),
        web.get("/v1/engines/clean_vram", clean_vram, allow_head=False),
        web.get("/ping", ping),
        web.get("/files/{date}/{file}", file),
    ]
