"""Writes the tables of ``docs/`` that are made from code: ``python -m tools.write_docs``."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from aiohttp.web import UrlDispatcher

from handlers.families import ALL, family_routes
from handlers.ops.openapi import build_document
from handlers.routes import create_router
from settings import options_table
from tools.docs_tables import (
    MissingText,
    Texts,
    endpoints_table,
    queries_table,
    request_tables,
    tool_tables,
    translate_table,
)

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "docs"
# What the OpenAPI document says, in Chinese (the page /docs reads it too), and the rest.
API_TEXTS: Final = ROOT / "static" / "i18n" / "api.zh.json"
DOC_TEXTS: Final = DOCS / "texts.zh.json"
_EVENTS_HEAD: Final = "| type | `data`, for example |"
_EVENT_PROSE: Final = (2, 3)  # columns: when it is said, whether it may be replaced
_OPTION_PROSE: Final = (3, 4)  # columns: default, meaning


def chinese() -> Texts:
    """The Chinese texts of both files."""
    return Texts({**read_texts(API_TEXTS), **read_texts(DOC_TEXTS)})


def read_texts(path: Path) -> dict[str, str]:
    """A table from English to another language."""
    table: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return table


def replace_between(text: str, name: str, content: str) -> str:
    """``text`` with what stands between the markers ``name`` replaced.

    Raises ValueError without them.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"the markers {begin} and {end} are missing")
    return f"{before}{begin}\n{content}\n{end}{after}"


def events_table() -> str:
    """The table of events in docs/events.md, which is written by hand."""
    text = (DOCS / "events.md").read_text(encoding="utf-8")
    _, head, rest = text.partition(_EVENTS_HEAD)
    return (head + rest).partition("\n\n")[0]


def pages(texts: Texts) -> Mapping[str, Mapping[str, str]]:
    """File in ``docs/`` → marker → table; English ones and those in the language of ``texts``."""
    document = build_document(create_router(apis=()))
    families = {
        f"family-{name}{ending}.md": {"endpoints": _family_table(name, words)}
        for name in ALL
        for ending, words in (("", Texts()), (".zh", texts))
    }
    return families | {
        "api.md": _api_tables(document, Texts()),
        "api.zh.md": _api_tables(document, texts),
        "configuration.md": {"options": options_table()},
        "configuration.zh.md": {"options": translate_table(options_table(), texts, _OPTION_PROSE)},
        "events.zh.md": {"events": translate_table(events_table(), texts, _EVENT_PROSE)},
    }


def written(page: str, tables: Mapping[str, str]) -> str:
    """A page of ``docs/`` as it should be: with these tables in it. Raises ValueError."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for name, table in tables.items():
        text = replace_between(text, name, table)
    return text


def main() -> None:
    """Rewrite every table that is made from code."""
    try:
        made = pages(chinese())
    except MissingText as error:
        texts = f"{API_TEXTS.relative_to(ROOT)} (the API's texts) or {DOC_TEXTS.relative_to(ROOT)}"
        sys.exit(f"there is no Chinese for {error}; write it into {texts}")
    for page, tables in made.items():
        (DOCS / page).write_text(written(page, tables), encoding="utf-8")


def _api_tables(document: Mapping[str, Any], texts: Texts) -> dict[str, str]:
    return {
        "endpoints": endpoints_table(document, texts),
        "queries": queries_table(document, texts),
        "request": request_tables(document, texts),
        "tools": tool_tables(document, texts),
    }


def _family_table(name: str, texts: Texts) -> str:
    """The operations of one other server's API."""
    router = UrlDispatcher()
    router.add_routes(family_routes([name]))
    return endpoints_table(build_document(router), texts)


if __name__ == "__main__":
    main()
