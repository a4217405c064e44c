"""Rows that have not ended: what a start of the server finds left by an earlier run."""

import sqlite3

import msgspec

from pipeline.errors import InvalidParameter
from pipeline.request.decode import request_from
from pipeline.request.delivery import Delivery
from pipeline.request.resolved import ResolvedRequest
from pipeline.request.schema import GenerateParams
from pipeline.scheduling.task import Task


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """A row that never ended and whose parameters this version cannot read any more."""

    task_id: str
    webhook_url: str
    base_url: str
    error: str


class OpenRow(msgspec.Struct, frozen=True, kw_only=True):
    """A task that has not ended, with the id of its row: rows are numbered in order of arrival."""

    id: int
    task: Task


class UnresolvedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that has not ended, its request decoded; what it names may be gone meanwhile."""

    id: int
    task_id: str
    params: GenerateParams
    present: frozenset[str]  # the fields that the row has
    in_queue_mills: int
    delivery: Delivery

    def resolved(self, request: ResolvedRequest) -> OpenRow:
        """The same row with its request resolved."""
        task = Task(
            task_id=self.task_id,
            request=request,
            in_queue_mills=self.in_queue_mills,
            delivery=self.delivery,
        )
        return OpenRow(id=self.id, task=task)


class Unfinished(msgspec.Struct, frozen=True, kw_only=True):
    """What a former run of the server left undone, oldest first."""

    rows: list[UnresolvedRow]
    unreadable: list[Unreadable]


def read_open_row(row: sqlite3.Row) -> UnresolvedRow | Unreadable:
    """Decode a row of the view ``focal_record``."""
    try:
        return _unresolved_row(row)
    except (msgspec.MsgspecError, InvalidParameter) as error:
        return _unreadable(row, str(error))


def _unresolved_row(row: sqlite3.Row) -> UnresolvedRow:
    fields = msgspec.json.decode(row["req_params"], type=dict[str, object])
    request = request_from(fields)
    delivery = msgspec.structs.replace(
        Delivery.of(request),
        default_webhook=row["webhook_url"] or "",
        base_url=row["base_url"] or "",
        family=row["family"] or "",
        key=row["key_name"] or "",
    )
    return UnresolvedRow(
        id=row["id"],
        task_id=row["task_id"],
        params=request.params,
        present=frozenset(fields),
        in_queue_mills=row["in_queue_mills"] or 0,
        delivery=delivery,
    )


def _unreadable(row: sqlite3.Row, error: str) -> Unreadable:
    return Unreadable(
        task_id=row["task_id"],
        webhook_url=row["webhook_url"] or "",
        base_url=row["base_url"] or "",
        error=f"the task waited through a restart and its parameters cannot be read: {error}",
    )
