"""The page's files over HTTP."""

import gzip
import re
from pathlib import Path

import pytest
from yarl import URL

from tests.integration.serving import Focal

STATIC = Path(__file__).resolve().parents[2] / "static"


async def test_the_root_goes_on_to_the_page(focal: Focal) -> None:
    async with focal.session.get("/", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "static/index.html")
    async with focal.session.get("/") as answer:
        assert answer.status == 200
        assert "text/html" in answer.headers["Content-Type"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/docs", "text/html; charset=utf-8"),
        ("/static/docs.js", "text/javascript; charset=utf-8"),
        ("/static/docs.css", "text/css; charset=utf-8"),
    ],
)
async def test_a_file_has_its_type_and_is_revalidated(focal: Focal, path: str, kind: str) -> None:
    async with focal.session.get(path) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == kind
        assert answer.headers["Cache-Control"] == "no-cache"
        tag = answer.headers["ETag"]
    async with focal.session.get(path, headers={"If-None-Match": tag}) as answer:
        assert answer.status == 304


async def test_text_is_compressed_for_who_asks(focal: Focal) -> None:
    stored = (STATIC / "docs.js").read_bytes()
    headers = {"Accept-Encoding": "gzip"}
    async with focal.session.get("/static/docs.js", headers=headers, auto_decompress=False) as sent:
        assert sent.headers["Content-Encoding"] == "gzip"
        body = await sent.read()
    assert len(body) < len(stored) / 2
    assert gzip.decompress(body) == stored
    async with focal.session.get("/static/docs.js", headers={"Accept-Encoding": ""}) as sent:
        assert "Content-Encoding" not in sent.headers
        assert await sent.read() == stored
    async with focal.session.head("/static/docs.js") as sent:
        assert (sent.status, await sent.read()) == (200, b"")


@pytest.mark.parametrize(
    "name",
    [
        "nothing.js",
        f"{'a' * 300}.js",
        f"{'a/' * 3000}b.js",
        "../server.py",
        "%2e%2e/server.py",
        "..%2fserver.py",
        "..%5cserver.py",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "%2fetc%2fpasswd",
        "docs.js%00.png",
        "docs.html/../../settings.py",
        ".",
        "",
    ],
)
async def test_nothing_outside_the_folder_is_served(focal: Focal, name: str) -> None:
    async with focal.session.get(URL(f"{focal.url}/static/{name}", encoded=True)) as answer:
        assert answer.status in (403, 404)
        assert "detail" in await answer.json()


def test_no_page_holds_a_script_or_style_of_its_own_or_an_outside_resource() -> None:
    for page in STATIC.glob("**/*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<script(?![^>]*\bsrc=)", text), page
        assert not re.search(r"<style|\sstyle=|\son\w+=", text), page
        assert not re.search(r"""(src|href)=["'](https?:)?//""", text), page
