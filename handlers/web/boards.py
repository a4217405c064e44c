"""/v1/boards: named collections of ended tasks."""

from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from handlers.http.body import read_json
from handlers.http.operation import Operation, Payload
from handlers.http.refusal import wrong_field
from handlers.http.respond import json_response
from handlers.keys import BOARDS
from handlers.service.errors import NotFound
from storage.boards import Board

TASKS_LIMIT: Final = 10_000
ID_LIMIT: Final = 255

Name = Annotated[str, Meta(min_length=1, max_length=100, description="Name of the board.")]
TaskIds = Annotated[
    tuple[Annotated[str, Meta(max_length=ID_LIMIT)], ...], Meta(max_length=TASKS_LIMIT)
]


class BoardChange(msgspec.Struct, frozen=True, kw_only=True):
    """What goes on a board and what is taken off it; a new name makes a new board."""

    name: Name
    add: TaskIds = ()
    remove: TaskIds = ()


class BoardRename(msgspec.Struct, frozen=True, kw_only=True):
    """A board's name and its new one."""

    name: Name
    to: Name


class BoardNamed(msgspec.Struct, frozen=True, kw_only=True):
    """A board."""

    name: Name


class BoardList(msgspec.Struct, frozen=True):
    """Every board by name, each with the number of its tasks."""

    boards: list[Board]


@Operation(
    name="boards",
    tag="history",
    summary="The boards, which are named collections of ended tasks",
    reply=Payload(type=BoardList),
)
async def list_boards(request: web.Request) -> web.Response:
    """Every board."""
    return await _boards(request)


@Operation(
    name="change_board",
    tag="history",
    summary="Put ended tasks on a board, or take them off; a new name makes a board",
    body=Payload(type=BoardChange),
    reply=Payload(type=BoardList),
    errors=(400, 401, 403, 413, 422, 503, 507),
)
async def change_board(request: web.Request) -> web.Response:
    """Change what is on a board. Ids that are not in the history are left out. Idempotent."""
    body, headers = await read_json(request, BoardChange)
    name = _checked(body.name, "name")
    await request.app[BOARDS].change(name, body.add, body.remove)
    return await _boards(request, headers)


@Operation(
    name="rename_board",
    tag="history",
    summary="Give a board another name",
    body=Payload(type=BoardRename),
    reply=Payload(type=BoardList),
    errors=(400, 401, 403, 404, 413, 422, 503, 507),
)
async def rename_board(request: web.Request) -> web.Response:
    """Rename a board; 404 if there is none, or if the new name is taken."""
    body, headers = await read_json(request, BoardRename)
    if not await request.app[BOARDS].rename(body.name.strip(), _checked(body.to, "to")):
        raise NotFound("there is no such board, or the new name is taken")
    return await _boards(request, headers)


@Operation(
    name="delete_board",
    tag="history",
    summary="Delete a board; its tasks stay in the history",
    body=Payload(type=BoardNamed),
    reply=Payload(type=BoardList),
    errors=(400, 401, 403, 404, 413, 422, 503, 507),
)
async def delete_board(request: web.Request) -> web.Response:
    """Delete a board, not its tasks."""
    body, headers = await read_json(request, BoardNamed)
    if not await request.app[BOARDS].delete(body.name.strip()):
        raise NotFound("there is no such board")
    return await _boards(request, headers)


def _checked(name: str, field: str) -> str:
    """A board's name without surrounding blanks. Raises RequestRefused: 422."""
    stripped = name.strip()
    if not stripped or not stripped.isprintable():
        raise wrong_field(field, "Expected a name of printable characters")
    return stripped


async def _boards(request: web.Request, headers: dict[str, str] | None = None) -> web.Response:
    boards = await request.app[BOARDS].all()
    return json_response(
        BoardList(boards), headers={"Cache-Control": "no-store", **(headers or {})}
    )
