"""The docs name everything there is, in both languages, and nothing that there is not."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bus.events import EVENT_TYPES
from handlers.families import ALL, family_routes
from handlers.http.errors import STATUS_OF
from handlers.http.operation import operation_of
from handlers.ops.openapi import build_document
from handlers.routes import create_router, own_routes
from pipeline.request.decode import decode_params
from pipeline.request.delivery import GenerateRequest
from pipeline.request.images import check_images
from pipeline.request.resolved import resolve_params
from settings import Settings
from tools.docs_tables import GROUPS, MissingText, Texts, cells_of, described_texts, translate_table
from tools.write_docs import (
    API_TEXTS,
    DOC_TEXTS,
    DOCS,
    ROOT,
    chinese,
    events_table,
    pages,
    read_texts,
    written,
)

CODE_FOLDERS = ("handlers", "pipeline", "storage")
PAGES = sorted([*DOCS.glob("*.md"), *ROOT.glob("README*.md")])
# What a class of our errors says of itself, and what a handler refuses with.
CODES = re.compile(
    r'^    code = "(\w+)"|RequestRefused\(\s*\d{3},\s*"(\w+)"|\bcode="(\w+)"'
    r'|_failed\(.*, "(\w+)"\)|FrameError\(.*, "(\w+)"\)',
    re.MULTILINE,
)
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(#[^)\s]*)?\)")


def error_codes() -> set[str]:
    sources = (path for folder in CODE_FOLDERS for path in (ROOT / folder).rglob("*.py"))
    found = (match for path in sources for match in CODES.finditer(path.read_text("utf-8")))
    return {next(code for code in match.groups() if code) for match in found} | set(STATUS_OF)


def page_texts() -> set[str]:
    """What the page /docs says beside the document."""
    page, script = (
        (ROOT / "static" / name).read_text("utf-8") for name in ("docs.html", "docs.js")
    )
    marked = re.findall(r" data-t>([^<]+)<", page) + re.findall(r'placeholder="([^"]+)"', page)
    return {*marked, *re.findall(r'\bt\("([^"]+)"\)', script)}


def blocks(page: Path) -> Iterator[str]:
    """The fenced pieces of a page."""
    yield from re.findall(r"^ *```\w*\n(.*?)^ *```", page.read_text("utf-8"), re.M | re.DOTALL)


@pytest.mark.parametrize("page", ["api.md", "api.zh.md"])
def test_every_route_stands_in_the_api_docs(page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    paths = {route.path.replace("{path:.+}", "{path}") for route in own_routes()}
    assert sorted(path for path in paths if f"{path}`" not in text) == []


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("ending", ["", ".zh"])
def test_every_route_of_a_family_stands_on_its_page(name: str, ending: str) -> None:
    text = (DOCS / f"family-{name}{ending}.md").read_text("utf-8")
    routes = [(route.path, operation_of(route.handler)) for route in family_routes([name])]
    paths = {
        path.replace(":.+}", "}")
        for path, operation in routes
        if operation and not operation.is_alias
    }
    assert sorted(path for path in paths if f"{path}`" not in text) == []


def test_every_field_of_the_generate_request_has_its_subject() -> None:
    named = [name for names in GROUPS.values() for name in names]
    assert sorted(named) == sorted(GenerateRequest.__struct_fields__)


def test_the_tables_are_those_that_the_code_makes() -> None:
    for page, tables in pages(chinese()).items():
        on_disk = (DOCS / page).read_text("utf-8")
        assert written(page, tables) == on_disk, f"{page}: run python -m tools.write_docs"


def test_the_chinese_texts_are_those_that_are_wanted_and_no_more() -> None:
    wanted = set(described_texts(build_document(create_router()))) | page_texts()
    assert set(read_texts(API_TEXTS)) ^ wanted == set()
    texts = chinese()
    pages(texts)
    assert sorted(set(read_texts(DOC_TEXTS)) - texts.used) == []


def test_a_text_without_a_translation_is_named() -> None:
    table = "| name | meaning |\n|---|---|\n| `a` | new words |"
    with pytest.raises(MissingText, match="new words"):
        translate_table(table, Texts({"name": "名", "meaning": "义"}), (1,))


def test_what_is_code_in_a_table_stays_as_it_is() -> None:
    table = "| name | default |\n|---|---|\n| `a` | `1` |\n| `b` | (none) |"
    texts = Texts({"name": "名", "default": "默认", "(none)": "无"})
    assert translate_table(table, texts, (1,)).splitlines()[2:] == ["| `a` | `1` |", "| `b` | 无 |"]


def test_every_setting_stands_in_both_configuration_pages() -> None:
    for page in ("configuration.md", "configuration.zh.md"):
        text = (DOCS / page).read_text("utf-8")
        flags = [f"`--{name.replace('_', '-')}`" for name in Settings.__struct_fields__]
        assert [flag for flag in flags if f"| {flag} |" not in text] == []


def test_every_event_is_shown_with_all_it_holds_and_whether_it_may_be_replaced() -> None:
    rows = {row[0]: row for row in map(cells_of, events_table().splitlines()[2:])}
    assert list(rows) == [f"`{kind.type}`" for kind in EVENT_TYPES]
    for kind in EVENT_TYPES:
        _, example, _, replaced = rows[f"`{kind.type}`"]
        data = json.loads(example.strip("`"))
        msgspec.convert(data, kind)
        needed = {field.name for field in msgspec.structs.fields(kind) if field.required}
        assert needed <= set(data) <= set(kind.__struct_fields__)
        assert replaced == ("yes" if kind.lossy else "no")


def test_every_error_code_has_its_remedy() -> None:
    text = (DOCS / "troubleshooting.md").read_text("utf-8")
    shown = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert sorted(error_codes() - shown) == []
    assert sorted(shown - error_codes() - HTTP_CODES) == []


# aiohttp's own refusals, whose code is the status's phrase.
HTTP_CODES = {"method_not_allowed", "bad_request", "expectation_failed"}


def test_every_example_request_is_understood_as_it_stands() -> None:
    checked = 0
    for page in PAGES:
        for block in blocks(page):
            for body in re.findall(r"-d '(\{.*?\})'", block, re.DOTALL):
                if "/v1/engine/generate" not in block:
                    continue
                decoded = decode_params(body.encode())
                assert decoded.ignored == (), f"{page.name}: {body}"
                check_images(resolve_params(decoded.params))
                checked += 1
    assert checked > 10


def test_every_link_between_the_pages_leads_somewhere() -> None:
    broken = []
    for page in PAGES:
        for target, anchor in LINK.findall(page.read_text("utf-8")):
            path = page.parent / target if target else page
            if not path.exists() or (anchor and anchor[1:] not in anchors(path)):
                broken.append(f"{page.name}: {target}{anchor}")
    assert broken == []


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_fields_that_migration_names_are_there() -> None:
    known = set(GenerateRequest.__struct_fields__)
    for page in ("migration.md", "migration.zh.md"):
        text = (DOCS / page).read_text("utf-8")
        table = text.partition("<!-- fields -->")[2].partition("\n\n## ")[0]
        rows = [cells_of(line) for line in table.splitlines() if line.startswith("| ")][1:]
        named = {name for row in rows for name in re.findall(r"`(\w+)`", row[1])}
        kept = {name for row in rows[:2] for name in re.findall(r"(\w+)`", row[0])}
        assert kept - known == set()
        assert named - known == set()
        assert len(named) > 10
