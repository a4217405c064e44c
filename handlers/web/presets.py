"""/v1/presets: presets that people save, rename and delete; GET /v1/models lists them."""

import asyncio
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from bus.events import CatalogChanged
from handlers.http.body import read_json
from handlers.http.operation import Operation, Payload
from handlers.http.respond import json_response
from handlers.keys import BUS, PRESETS
from pipeline.request.decode import params_from
from pipeline.request.preset_files import PresetFiles, preset_of
from pipeline.request.presets import PresetStore

Name = Annotated[
    str,
    Meta(min_length=1, max_length=128, description="Letters, digits, blanks and _ . + ( ) -."),
]


class PresetToSave(msgspec.Struct, frozen=True, kw_only=True):
    """A preset's name and the request fields that it sets; others are left out."""

    name: Name
    parameters: Annotated[
        dict[str, object], Meta(description="Fields of a generate request, as a record has them.")
    ]
    note: Annotated[str, Meta(max_length=500, description="A line about the preset.")] = ""
    replace: Annotated[bool, Meta(description="Whether one of that name is written over.")] = False


class PresetRename(msgspec.Struct, frozen=True, kw_only=True):
    """A preset's name and its new one."""

    name: Name
    to: Name


class PresetNamed(msgspec.Struct, frozen=True, kw_only=True):
    """A preset, by the name that requests use."""

    name: Name


class PresetChanged(msgspec.Struct, frozen=True, kw_only=True):
    """The preset that was saved, renamed or deleted, by its name now."""

    name: str


@Operation(
    name="save_preset",
    tag="engine",
    summary="Save request fields as a preset, a file with Fooocus's keys",
    body=Payload(type=PresetToSave),
    reply=Payload(type=PresetChanged),
    errors=(400, 401, 403, 404, 409, 413, 422, 503),
)
async def save_preset(request: web.Request) -> web.Response:
    """Write a preset; 409 for a name that is taken, unless it is to be replaced."""
    body, headers = await read_json(request, PresetToSave)
    await asyncio.to_thread(_save, request.app[PRESETS], body)
    return _changed(request, body.name, headers)


@Operation(
    name="rename_preset",
    tag="engine",
    summary="Give a preset another name",
    body=Payload(type=PresetRename),
    reply=Payload(type=PresetChanged),
    errors=(400, 401, 403, 404, 409, 413, 422, 503),
)
async def rename_preset(request: web.Request) -> web.Response:
    """Rename a preset; 409 for a name that is taken, and for the start preset."""
    body, headers = await read_json(request, PresetRename)
    files = PresetFiles(request.app[PRESETS])
    await asyncio.to_thread(files.rename, body.name, body.to)
    return _changed(request, body.to, headers)


@Operation(
    name="delete_preset",
    tag="engine",
    summary="Delete a preset",
    body=Payload(type=PresetNamed),
    reply=Payload(type=PresetChanged),
    errors=(400, 401, 403, 404, 409, 413, 422, 503),
)
async def delete_preset(request: web.Request) -> web.Response:
    """Delete a preset; 409 for the start preset."""
    body, headers = await read_json(request, PresetNamed)
    await asyncio.to_thread(PresetFiles(request.app[PRESETS]).delete, body.name)
    return _changed(request, body.name, headers)


def _save(presets: PresetStore, body: PresetToSave) -> None:
    about = presets.describing(params_from(body.parameters))
    PresetFiles(presets).save(
        body.name, preset_of(body.parameters, about, body.note), replace=body.replace
    )


def _changed(request: web.Request, name: str, headers: dict[str, str]) -> web.Response:
    request.app[BUS].publish(CatalogChanged())
    return json_response(PresetChanged(name=name), headers=headers)
