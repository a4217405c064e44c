"""What A1111's clients list before they ask for a picture: models, samplers, scripts, memory."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from handlers.a1111.describe import describe
from handlers.a1111.generate import Nothing
from handlers.http.operation import Payload
from handlers.http.refusal import Handler
from handlers.http.respond import json_response
from handlers.keys import EXECUTOR
from handlers.service.models import memory
from pipeline.files.catalog import CHECKPOINTS, LORAS, UPSCALERS, VAES, ModelCatalog
from pipeline.metadata.record import short_name
from pipeline.request.choices import DEFAULT_UPSCALER, DEFAULT_VAE
from pipeline.request.styles import StyleLibrary, Template


class SdModel(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint. Requests name it by its title; hashes are not worked out."""

    title: str
    model_name: str
    hash: str | None = None
    sha256: str | None = None
    filename: str
    config: str | None = None


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A VAE file."""

    model_name: str
    filename: str


class LoraEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A LoRA, for ``<lora:name:weight>`` in a prompt."""

    name: str
    alias: str
    path: str
    metadata: dict[str, str]


class UpscalerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An upscaler; "None" and "Default" have no file."""

    name: str
    model_name: str | None = None
    model_path: str | None = None
    model_url: str | None = None
    scale: float = 4


class PromptStyle(msgspec.Struct, frozen=True, kw_only=True):
    """A style; ``{prompt}`` stands for the request's prompt."""

    name: str
    prompt: str
    negative_prompt: str


class EmbeddingEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A textual inversion. ``shape`` and ``vectors`` are 0: its file is not read."""

    step: int | None = None
    sd_checkpoint: str | None = None
    sd_checkpoint_name: str | None = None
    shape: int = 0
    vectors: int = 0


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    """Textual inversions by name."""

    loaded: dict[str, EmbeddingEntry]
    skipped: dict[str, EmbeddingEntry] = {}


class Scripts(msgspec.Struct, frozen=True, kw_only=True):
    """There are no scripts."""

    txt2img: list[str] = []
    img2img: list[str] = []


class Ram(msgspec.Struct, frozen=True, kw_only=True):
    """Main memory in bytes."""

    free: int
    used: int
    total: int


class MemoryReply(msgspec.Struct, frozen=True, kw_only=True):
    """Main memory; that of the devices is not told."""

    ram: Ram
    cuda: dict[str, str] = {}


def sd_models(catalog: ModelCatalog) -> list[SdModel]:
    """Checkpoints under the names that requests use."""
    return [
        SdModel(title=name, model_name=short_name(name), filename=_path(CHECKPOINTS, name))
        for name in catalog.checkpoints()
    ]


def sd_vaes(catalog: ModelCatalog) -> list[ModelEntry]:
    """VAE files."""
    return [
        ModelEntry(model_name=name, filename=_path(VAES, name))
        for name in catalog.vaes()
        if name != DEFAULT_VAE
    ]


def loras(catalog: ModelCatalog) -> list[LoraEntry]:
    """LoRA files, with what they say of their training."""
    return [
        LoraEntry(
            name=short_name(name),
            alias=short_name(name),
            path=_path(LORAS, name),
            metadata=_told(catalog, name),
        )
        for name in catalog.loras()
    ]


def upscalers(catalog: ModelCatalog) -> list[UpscalerEntry]:
    """No upscaler, this server's own, and the files."""
    files = (
        UpscalerEntry(name=name, model_name=short_name(name), model_path=_path(UPSCALERS, name))
        for name in catalog.upscalers()
    )
    return [UpscalerEntry(name="None", scale=1), UpscalerEntry(name=DEFAULT_UPSCALER), *files]


def embeddings(catalog: ModelCatalog) -> Embeddings:
    """Textual-inversion files."""
    return Embeddings(loaded={short_name(n): EmbeddingEntry() for n in catalog.embeddings()})


def prompt_styles(library: StyleLibrary) -> list[PromptStyle]:
    """Every style with its texts."""
    templates = library.templates()
    return [_style(name, templates.get(name)) for name in library.names()]


def memory_reply() -> MemoryReply:
    """Main memory, as the system tells it."""
    facts = memory()
    used = facts.total - facts.available
    return MemoryReply(ram=Ram(free=facts.available, used=used, total=facts.total))


def listing(
    name: str, summary: str, kind: Any, make: Callable[[web.Application], object]
) -> Handler:
    """An endpoint that answers with ``make(app)``, which may read files."""

    @describe(name=f"a1111_{name}", summary=summary, reply=Payload(type=kind), errors=(401, 403))
    async def endpoint(request: web.Request) -> web.Response:
        return json_response(await asyncio.to_thread(make, request.app))

    return endpoint


def refreshing(name: str) -> Handler:
    """An endpoint that has nothing to do: folders are listed anew at each request."""

    @describe(
        name=f"a1111_{name}",
        summary="Nothing to do: folders are listed anew at each request",
        reply=Payload(type=Nothing),
        errors=(401, 403),
    )
    async def endpoint(_: web.Request) -> web.Response:
        return json_response(Nothing())

    return endpoint


@describe(
    name="a1111_unload_checkpoint",
    summary="Give the memory of every loaded model back; the next task loads again",
    reply=Payload(type=Nothing),
    errors=(401, 403, 503),
)
async def unload_checkpoint(request: web.Request) -> web.Response:
    """Unload every model between two tasks: a running one ends first. Idempotent."""
    await request.app[EXECUTOR].unload()
    return json_response(Nothing())


def _style(name: str, template: Template | None) -> PromptStyle:
    found = template or Template(name)
    return PromptStyle(name=name, prompt=found.prompt, negative_prompt=found.negative_prompt)


def _told(catalog: ModelCatalog, name: str) -> dict[str, str]:
    header = msgspec.structs.asdict(catalog.header(LORAS, name))
    return {key: value for key, value in header.items() if isinstance(value, str) and value}


def _path(folder: str, name: str) -> str:
    return f"models/{folder}/{name}"
