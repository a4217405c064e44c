"""From an ended task to the family's reply: pictures in base64, and what is told of them."""

import base64
from datetime import datetime

import msgspec

from handlers.a1111.schemas import GenerationReply, Info
from handlers.service.submit import stored_request
from pipeline.images.read import look_at
from pipeline.metadata.record import SOFTWARE, short_name
from pipeline.metadata.titles import SAMPLER_TITLES
from pipeline.request.choices import DEFAULT_VAE
from pipeline.request.plan import STEPS, seed_of
from pipeline.request.schema import GenerateParams
from storage.records import TaskRecord


def generation_reply(
    record: TaskRecord, pictures: list[bytes], body: msgspec.Struct, *, send: bool
) -> GenerationReply:
    """The reply to a task that has ended. Decodes its pictures: not for the event loop."""
    info = info_of(record, pictures)
    return GenerationReply(
        images=[base64.b64encode(data).decode() for data in pictures] if send else [],
        parameters=_echo(body),
        info=msgspec.json.encode(info).decode(),
    )


def _echo(body: msgspec.Struct) -> dict[str, object]:
    """The request without its pictures."""
    fields: dict[str, object] = msgspec.to_builtins(body)
    return {k: None if k in ("init_images", "mask") else v for k, v in fields.items()}


def info_of(record: TaskRecord, pictures: list[bytes]) -> Info:
    """What A1111 tells of the pictures of a request. Sizes are those of the files."""
    params = stored_request(record.req_params).params
    facts = [look_at(data) for data in pictures]
    width, height = (facts[0].width, facts[0].height) if facts else (0, 0)
    count = len(pictures)
    return Info(
        prompt=params.prompt,
        all_prompts=[params.prompt] * count,
        negative_prompt=params.negative_prompt,
        all_negative_prompts=[params.negative_prompt] * count,
        seed=params.image_seed,
        all_seeds=[seed_of(params, i) for i in range(count)],
        subseed=-1,
        all_subseeds=[-1] * count,
        subseed_strength=0,
        width=width,
        height=height,
        sampler_name=SAMPLER_TITLES.get(params.sampler_name, params.sampler_name),
        cfg_scale=params.guidance_scale,
        steps=_steps(params),
        batch_size=1,
        restore_faces=False,
        sd_model_name=short_name(params.base_model_name),
        sd_model_hash="",
        sd_vae_name=None if params.vae_name == DEFAULT_VAE else short_name(params.vae_name),
        denoising_strength=_denoising(params),
        extra_generation_params={},
        index_of_first_image=0,
        infotexts=[each.text.parameters if each.text else "" for each in facts],
        styles=list(params.style_selections),
        job_timestamp=timestamp(record.start_mills),
        clip_skip=params.clip_skip,
        version=SOFTWARE,
    )


def timestamp(mills: int | None) -> str:
    """A time as A1111 writes it, in local time; "0" for none."""
    if mills is None or mills < 0:
        return "0"
    return datetime.fromtimestamp(mills / 1000).astimezone().strftime("%Y%m%d%H%M%S")


def _steps(params: GenerateParams) -> int:
    return (
        params.overwrite_step if params.overwrite_step > 0 else STEPS[params.performance_selection]
    )


def _denoising(params: GenerateParams) -> float | None:
    if params.inpaint_input_image:
        return params.inpaint_strength
    return params.overwrite_vary_strength if params.uov_input_image else None
