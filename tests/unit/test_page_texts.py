"""The pages' files: texts in both languages, what may not stand in a script, and their weight."""

import json
import re
from pathlib import Path

from bus.events import EVENT_TYPES, BusGap

STATIC = Path(__file__).parents[2] / "static"
SCRIPTS = sorted((STATIC / "js").glob("*.js"))
WEIGHT_LIMIT = 400_000  # bytes, uncompressed; test_create.py bounds what a first visit loads
DYNAMIC = (
    *("page.", "group.", "status.", "theme.", "kind.", "health.", "inputs.", "progress."),
    *("help.", "keys.", "inpaint.", "mask."),
)


def texts(language: str) -> dict[str, str]:
    found: dict[str, str] = json.loads((STATIC / "i18n" / f"{language}.json").read_text("utf-8"))
    return found


def test_both_languages_have_the_same_texts_with_the_same_gaps() -> None:
    english, chinese = texts("en"), texts("zh")
    assert list(english) == list(chinese)
    for key, text in english.items():
        gaps = set(re.findall(r"{\w+}", text))
        assert gaps == set(re.findall(r"{\w+}", chinese[key])), key
        assert text.strip()
        assert chinese[key].strip()


def test_every_text_that_a_page_asks_for_is_there() -> None:
    sources = [path.read_text("utf-8") for path in (*SCRIPTS, STATIC / "index.html")]
    whole = "\n".join(sources)
    asked = set(re.findall(r"""\bt\("([\w.]+)\"""", whole))
    asked |= set(re.findall(r'data-t(?:-label)?="([\w.]+)"', whole))
    assert asked
    assert sorted(asked - set(texts("en"))) == []


def test_no_text_is_there_that_no_page_asks_for() -> None:
    whole = "\n".join(path.read_text("utf-8") for path in (*SCRIPTS, STATIC / "index.html"))
    families = ("field.", "note.", "create.", "gallery.", "viewer.", "queue.", *DYNAMIC)
    unused = [
        key
        for key in texts("en")
        if f'"{key.removesuffix(".one")}"' not in whole and not key.startswith(families)
    ]
    assert unused == []


def test_nothing_is_put_into_a_page_as_markup() -> None:
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
    )
    for path in (*SCRIPTS, STATIC / "docs.js", STATIC / "example.js"):
        assert not forbidden.search(path.read_text("utf-8")), path.name


def test_only_one_module_knows_the_servers_urls() -> None:
    known = re.compile(r"""["'`/]v1/|(?<![.\w])fetch\(|new URL\("|/tasks""")
    for path in SCRIPTS:
        found = known.search(path.read_text("utf-8"))
        assert path.name == "api.js" or found is None, (path.name, found)


def test_all_files_together_are_light() -> None:
    weight = sum(path.stat().st_size for path in STATIC.rglob("*") if path.is_file())
    assert weight <= WEIGHT_LIMIT


def test_the_dashboard_offers_every_event_type() -> None:
    listed = re.search(
        r"EVENT_TYPES = \[(.*?)\]", (STATIC / "js" / "system.js").read_text(), re.DOTALL
    )
    assert listed
    offered = set(re.findall(r'"([\w.]+)"', listed[1]))
    assert offered == {kind.type for kind in EVENT_TYPES} - {BusGap.type}
