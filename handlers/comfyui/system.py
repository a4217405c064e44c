"""/system_stats, /features, /models, /embeddings, /object_info and /free."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta, UnsetType

from handlers.comfyui.describe import describe
from handlers.http.body import read_json
from handlers.http.operation import Payload
from handlers.http.respond import json_response
from handlers.keys import CATALOG, EXECUTOR, SETTINGS
from handlers.service.errors import NotFound
from handlers.service.models import Memory, memory
from pipeline.files.catalog import CHECKPOINTS, EMBEDDINGS, LORAS, UPSCALERS, VAES, ModelCatalog
from pipeline.metadata.record import SOFTWARE
from pipeline.request.choices import DEFAULT_VAE
from pipeline.scheduling.worker import DeviceState

# Clients compare it as a version to know what ComfyUI can do; this server is none of them.
COMFYUI_VERSION: Final = "0.0.0"
_FOLDERS: Final[Mapping[str, Callable[[ModelCatalog], list[str]]]] = {
    CHECKPOINTS: ModelCatalog.checkpoints,
    LORAS: ModelCatalog.loras,
    VAES: lambda catalog: [name for name in catalog.vaes() if name != DEFAULT_VAE],
    EMBEDDINGS: ModelCatalog.embeddings,
    UPSCALERS: ModelCatalog.upscalers,
}


class SystemInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The machine and the programs. ``server`` names this one."""

    os: str
    ram_total: int
    ram_free: int
    comfyui_version: str = COMFYUI_VERSION
    server: str
    python_version: str
    pytorch_version: str
    embedded_python: bool = False
    argv: list[str] = []


class DeviceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A device. Memory is in bytes, main memory for a CPU; 0 where it is not known."""

    name: str
    type: str
    index: int | None
    vram_total: int
    vram_free: int
    torch_vram_total: int = 0
    torch_vram_free: int = 0


class SystemStats(msgspec.Struct, frozen=True, kw_only=True):
    """The machine and its devices."""

    system: SystemInfo
    devices: list[DeviceInfo]


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """What a client may count on."""

    supports_preview_metadata: bool = True
    max_upload_size: int


class Free(msgspec.Struct, frozen=True, kw_only=True):
    """Body of POST /free; either wish unloads every model."""

    unload_models: bool = False
    free_memory: bool = False


NoNodes = Annotated[dict[str, dict[str, object]], Meta(description="Empty.")]


@describe(
    name="comfyui_system_stats",
    summary="The machine, its devices and their memory",
    reply=Payload(type=SystemStats),
)
async def system_stats(request: web.Request) -> web.Response:
    """Memory as the system tells it; what is free of a graphics card is not told."""
    states = request.app[EXECUTOR].devices()
    number = request.app[SETTINGS].version
    return json_response(await asyncio.to_thread(_stats, states, number))


@describe(
    name="comfyui_features", summary="What a client may count on", reply=Payload(type=Features)
)
async def features(request: web.Request) -> web.Response:
    """The same that a WebSocket is told."""
    return json_response(features_of(request.app))


@describe(name="comfyui_folders", summary="The kinds of models", reply=Payload(type=list[str]))
async def folders(_: web.Request) -> web.Response:
    """The names that ``/models/{folder}`` takes."""
    return json_response(list(_FOLDERS))


@describe(
    name="comfyui_models",
    summary="Model files of a kind",
    reply=Payload(type=list[str]),
    errors=(401, 403, 404),
)
async def models(request: web.Request) -> web.Response:
    """File names, read from disk anew. 404 for a kind that is not known here."""
    names = _FOLDERS.get(request.match_info["folder"])
    if names is None:
        raise NotFound(f"there are {', '.join(_FOLDERS)}")
    return json_response(await asyncio.to_thread(names, request.app[CATALOG]))


@describe(
    name="comfyui_embeddings",
    summary="Textual inversions, without the ending of their files",
    reply=Payload(type=list[str]),
)
async def embeddings(request: web.Request) -> web.Response:
    """Names as a prompt has them."""
    names = await asyncio.to_thread(request.app[CATALOG].embeddings)
    return json_response([name.rpartition(".")[0] for name in names])


@describe(
    name="comfyui_object_info",
    summary="Empty: there are no nodes, since graphs are not executed",
    reply=Payload(type=NoNodes),
)
async def object_info(_: web.Request) -> web.Response:
    """An empty object."""
    return json_response({})


@describe(
    name="comfyui_object_info_of",
    summary="Empty: there are no nodes, since graphs are not executed",
    reply=Payload(type=NoNodes),
)
async def object_info_of(_: web.Request) -> web.Response:
    """An empty object, whatever the node."""
    return json_response({})


@describe(
    name="comfyui_free",
    summary="Give the memory of every loaded model back; the next task loads again",
    body=Payload(type=Free),
    errors=(400, 401, 403, 413, 422, 503),
)
async def free(request: web.Request) -> web.Response:
    """Unload every model between two tasks: a running one ends first. Idempotent."""
    body, headers = await read_json(request, Free, optional=True)
    if body.unload_models or body.free_memory:
        await request.app[EXECUTOR].unload()
    return web.Response(headers=headers)


def features_of(app: web.Application) -> Features:
    """What clients of this application may count on."""
    return Features(max_upload_size=app[SETTINGS].body_limit_bytes)


def _stats(states: tuple[DeviceState, ...], number: str) -> SystemStats:
    """Reads files: not for the event loop."""
    ram = memory()
    system = SystemInfo(
        os=sys.platform,
        ram_total=ram.total,
        ram_free=ram.available,
        server=f"{SOFTWARE} {number}",
        python_version=sys.version,
        pytorch_version=_version_of("torch"),
    )
    return SystemStats(system=system, devices=[device_info(each, ram) for each in states])


def device_info(state: DeviceState, ram: Memory) -> DeviceInfo:
    """A device by the hardware that its name stands for, once that is known."""
    hardware = state.hardware
    name = state.name if isinstance(hardware, UnsetType) else hardware.description
    total = 0 if isinstance(hardware, UnsetType) else hardware.memory_bytes
    kind, _, index = name.partition(" ")[0].partition(":")
    is_cpu = kind == "cpu"
    return DeviceInfo(
        name=name,
        type=kind,
        index=int(index) if index.isdigit() else None,
        vram_total=ram.total if is_cpu else total,
        vram_free=ram.available if is_cpu else 0,
    )


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
