"""The history as the gallery shows it: small cards, searched, filtered, counted; favourites."""

import asyncio
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from bus.events import now_ms
from storage.database import Database
from storage.history import HistoryRepository
from storage.merge import merged_page
from storage.records import TaskRecord, stored_record, stored_result

# Only the page's own rows are joined to their requests. {} is what ``CardFilter.condition`` says.
_PAGE: Final = """
    SELECT r.*, g.prompt, g.model, g.status, f.task_id IS NOT NULL AS favourite
    FROM (SELECT id, prompt, model, status FROM focal_gallery WHERE {}
          ORDER BY mills DESC, id DESC LIMIT :limit OFFSET :offset) g
    JOIN focal_record r ON r.id = g.id LEFT JOIN focal_favourite f ON f.task_id = r.task_id
    ORDER BY r.mills DESC, r.id DESC
"""
_CARDS_OF: Final = """
    SELECT r.*, g.prompt, g.model, g.status, f.task_id IS NOT NULL AS favourite
    FROM json_each(:ids) i JOIN focal_gallery g ON g.id = i.value
    JOIN focal_record r ON r.id = g.id LEFT JOIN focal_favourite f ON f.task_id = r.task_id
    ORDER BY r.mills DESC, r.id DESC
"""
_COUNT: Final = "SELECT count(*) FROM focal_gallery WHERE {}"
_MARK: Final = """
    INSERT INTO focal_favourite SELECT task_id, :mills FROM focal_gallery WHERE task_id = :task_id
    ON CONFLICT DO NOTHING
"""
# The pictures of a task stand behind one another; ``upto`` counts them with all before them.
_PICTURES: Final = """
    WITH ordered AS (SELECT id, mills, pictures,
                            sum(pictures) OVER (ORDER BY mills DESC, id DESC) AS upto
                     FROM focal_gallery WHERE {} AND pictures > 0)
    SELECT id, upto - pictures AS before FROM ordered
    WHERE upto > :offset AND upto - pictures < :offset + :limit
"""
_COUNT_PICTURES: Final = "SELECT coalesce(sum(pictures), 0) FROM focal_gallery WHERE {}"
_RESULTS: Final = """
    SELECT r.task_id, r.result FROM json_each(:task_ids) i
    JOIN focal_record r ON r.task_id = i.value ORDER BY r.id
"""
FAILED: Final = "failed"
_FIRST_MS: Final = -(2**62)
_LAST_MS: Final = 2**62


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """One ended task, as small as a gallery needs it. ``images`` are paths on this server."""

    task_id: str
    status: str
    prompt: str
    model: str
    images: list[str]
    in_queue_mills: int | None
    finish_mills: int | None
    favourite: bool
    error: str | UnsetType = UNSET
    picture: int | UnsetType = UNSET
    """In a view of single pictures: which of the task's pictures, from 0, ``images`` has."""


class CardFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Selects ended tasks. Every word of ``search`` occurs in the prompt; "" and None select all.

    ``start_ms`` and ``end_ms`` bound the time of queueing, both included.
    """

    search: str = ""
    status: str = ""
    model: str = ""
    favourite: bool = False
    board: str = ""
    hide_failed: bool = False
    start_ms: int | None = None
    end_ms: int | None = None

    @property
    def words(self) -> list[str]:
        """Patterns for SQL's LIKE, one a word."""
        return [f"%{_escaped(word)}%" for word in self.search.split()]

    @property
    def is_range(self) -> bool:
        """True if only a range of time is given."""
        other = (self.status, self.model, self.favourite, self.board, self.hide_failed)
        return not (self.search.split() or any(other))

    def matches(self, card: Card) -> bool:
        """As ``condition``, the range excepted, for a card that is not in the database."""
        prompt = card.prompt.casefold()
        return (
            self.status in ("", card.status)
            and self.model in ("", card.model)
            and (card.favourite or not self.favourite)
            and not self.board  # only what is in the history is on a board
            and not (self.hide_failed and card.status == FAILED)
            and all(word.casefold() in prompt for word in self.search.split())
        )

    def condition(self) -> str:
        """SQL with only the conditions that are asked for; every value is a parameter."""
        parts = ["mills BETWEEN :start AND :end"]
        if self.status:
            parts.append("status = :status")
        if self.model:
            parts.append("model = :model")
        if self.favourite:
            parts.append("task_id IN (SELECT task_id FROM focal_favourite)")
        if self.board:
            parts.append("task_id IN (SELECT task_id FROM focal_board_task WHERE board = :board)")
        if self.hide_failed:
            parts.append(f"status <> '{FAILED}'")
        parts += [rf"prompt LIKE :word{i} ESCAPE '\'" for i in range(len(self.words))]
        return " AND ".join(parts)

    def values(self) -> dict[str, object]:
        """The parameters of ``condition``."""
        return {
            "start": _FIRST_MS if self.start_ms is None else self.start_ms,
            "end": _LAST_MS if self.end_ms is None else self.end_ms,
            "status": self.status,
            "model": self.model,
            "board": self.board,
            **{f"word{i}": word for i, word in enumerate(self.words)},
        }


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What the history holds: ended tasks by status and by model, and the favourites."""

    total: int
    favourites: int
    statuses: dict[str, int]
    models: dict[str, int]


class GalleryRepository:
    """Reads cards and keeps favourites. Event loop only."""

    def __init__(self, database: Database, history: HistoryRepository) -> None:
        self._database = database
        self._history = history

    async def page(self, chosen: CardFilter, offset: int, limit: int) -> list[Card]:
        """The chosen tasks, newest first."""
        if chosen.is_range:  # the history knows the way to any of its pages
            start, end = chosen.start_ms, chosen.end_ms
            return await self._cards(await self._history.stretch(start, end, offset, limit))
        return await merged_page(
            await self._held(chosen),
            lambda skipped, count: self._stored(chosen, skipped, count),
            offset,
            limit,
            age=lambda card: (card.in_queue_mills or 0,),
            name=lambda card: card.task_id,
        )

    async def count(self, chosen: CardFilter) -> int:
        """Number of the chosen tasks."""
        if chosen.is_range:
            return await self._history.count(chosen.start_ms, chosen.end_ms)
        sql = _COUNT.format(chosen.condition())
        rows = await self._database.search(sql, chosen.values())
        return int(rows[0][0]) + len(await self._held(chosen))

    async def pictures(self, chosen: CardFilter, offset: int, limit: int) -> list[Card]:
        """The chosen tasks' pictures, those of the newest task first: a card for each.

        Tasks whose ends the database has not taken yet are left out.
        """
        values = {**chosen.values(), "offset": offset, "limit": limit}
        rows = await self._database.search(_PICTURES.format(chosen.condition()), values)
        before = {int(row["id"]): int(row["before"]) for row in rows}
        ids = msgspec.json.encode(list(before)).decode()
        single: list[Card] = []
        for row in await self._database.search(_CARDS_OF, {"ids": ids}):
            card, first = _card(row), before[int(row["id"])]
            stretch = range(max(0, offset - first), min(len(card.images), offset + limit - first))
            single += [
                msgspec.structs.replace(card, images=[card.images[at]], picture=at)
                for at in stretch
            ]
        return single

    async def count_pictures(self, chosen: CardFilter) -> int:
        """Number of the chosen tasks' pictures."""
        sql = _COUNT_PICTURES.format(chosen.condition())
        return int((await self._database.search(sql, chosen.values()))[0][0])

    async def pictures_of(self, task_ids: Sequence[str]) -> list[list[str]]:
        """The paths of each task's pictures; none of a task that has none or is not known."""
        held = await self._history.held()  # before the rows: an end is written, then forgotten here
        values = {"task_ids": msgspec.json.encode(task_ids).decode()}
        rows = await self._database.search(_RESULTS, values)
        found = {record.task_id: record.result or [] for record in held}
        found |= await asyncio.to_thread(_results, rows)
        return [found.get(task_id, []) for task_id in task_ids]

    async def summary(self) -> Summary:
        """Counts over the whole history."""
        statuses, models = await self._counts("status"), await self._counts("model")
        for card in await self._held(CardFilter()):
            statuses[card.status] = statuses.get(card.status, 0) + 1
            models[card.model] = models.get(card.model, 0) + 1
        favourites = await self.count(CardFilter(favourite=True))
        return Summary(
            total=sum(statuses.values()), favourites=favourites, statuses=statuses, models=models
        )

    async def mark(self, task_id: str, *, favourite: bool) -> bool:
        """Make an ended task a favourite, or no longer one. False if that changes nothing."""
        async with self._database.transaction() as connection:
            sql = _MARK if favourite else "DELETE FROM focal_favourite WHERE task_id = :task_id"
            cursor = await connection.execute(sql, {"task_id": task_id, "mills": now_ms()})
            return cursor.rowcount > 0

    async def _stored(self, chosen: CardFilter, offset: int, limit: int | None) -> list[Card]:
        values = {**chosen.values(), "offset": offset, "limit": -1 if limit is None else limit}
        rows = await self._database.search(_PAGE.format(chosen.condition()), values)
        return [_card(row) for row in rows]

    async def _cards(self, records: list[TaskRecord]) -> list[Card]:
        ids = msgspec.json.encode([record.id for record in records]).decode()
        rows = await self._database.search(_CARDS_OF, {"ids": ids})
        stored = {row["id"]: _card(row) for row in rows}
        return [stored.get(record.id) or _held_card(record) for record in records]

    async def _held(self, chosen: CardFilter) -> list[Card]:
        """Cards of the chosen tasks whose ends the database has not taken yet."""
        held = await self._history.held(chosen.start_ms, chosen.end_ms)
        return [card for card in map(_held_card, held) if chosen.matches(card)]

    async def _counts(self, column: str) -> dict[str, int]:
        """``column`` is a name from this file, never a client's."""
        sql = f"SELECT {column}, count(*) FROM focal_gallery GROUP BY 1 ORDER BY 2 DESC, 1"  # noqa: S608
        return {str(row[0]): int(row[1]) for row in await self._database.search(sql, {})}


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _results(rows: Iterable[sqlite3.Row]) -> dict[str, list[str]]:
    """Paths by task id; of several rows of one id those of the last."""
    return {row["task_id"]: paths for row in rows if (paths := stored_result(row["result"]))}


def _held_card(record: TaskRecord) -> Card:
    return Card(
        task_id=record.task_id,
        status=record.task_status or "",
        prompt=str(record.req_params.get("prompt", "")),
        model=str(record.req_params.get("base_model_name", "")),
        images=record.result or [],
        in_queue_mills=record.in_queue_mills,
        finish_mills=record.finish_mills,
        favourite=False,  # only what is in the history can be marked
        error=record.error,
    )


def _card(row: sqlite3.Row) -> Card:
    record = stored_record(row)
    return Card(
        task_id=record.task_id,
        status=row["status"],
        prompt=str(row["prompt"]),
        model=str(row["model"]),
        images=record.result or [],
        in_queue_mills=record.in_queue_mills,
        finish_mills=record.finish_mills,
        favourite=bool(row["favourite"]),
        error=record.error,
    )
