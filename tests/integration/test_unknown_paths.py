"""Paths that are not served: the same without its last slash, and those of other servers."""

from pathlib import Path
from typing import Final

import pytest
from yarl import URL

from tests.integration.serving import Focal, serve

MIGRATION: Final = Path("docs/migration.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/tasks/", "/tasks"),
        ("/tasks/?query=history&page=0", "/tasks?query=history&page=0"),
        ("/docs/", "/docs"),
        ("/v1/queue//", "/v1/queue"),
        ("/health/", "/health"),
    ],
)
async def test_a_slash_too_many_is_taken_off_behind_any_prefix(
    focal: Focal, path: str, location: str
) -> None:
    for method in ("GET", "HEAD"):
        async with focal.session.request(method, path, allow_redirects=False) as answer:
            assert answer.status == 308
            target = answer.headers["Location"]
    for prefix in ("", "/focal"):
        url = URL(f"http://a{prefix}{path}")
        assert url.join(URL(target)) == URL(f"http://a{prefix}{location}")
    async with focal.session.get(path) as answer:
        assert (answer.status, answer.url.path) == (200, URL(location).path)


@pytest.mark.parametrize(
    "path", ["/nowhere/", "/%5Cexample.org/", "//", "//tasks/x/", "/ta%73ks%2F"]
)
async def test_nothing_else_is_redirected(focal: Focal, path: str) -> None:
    url = URL(focal.url + path, encoded=True)
    async with focal.session.get(url, allow_redirects=False) as answer:
        assert answer.status == 404
        assert (await answer.json())["code"] == "not_found"


async def test_a_change_is_not_redirected(focal: Focal) -> None:
    async with focal.session.post("/v1/queue/pause/", allow_redirects=False) as answer:
        assert answer.status == 404
    assert (await focal.get("/v1/queue"))["paused"] is False


async def test_without_the_key_nobody_learns_which_paths_there_are(tmp_path: Path) -> None:
    async with serve(tmp_path, api_key="secret") as focal:
        for path in ("/tasks/", "/nowhere/", "/sdapi/v1/txt2img"):
            async with focal.session.get(path) as answer:
                assert (answer.status, answer.url.path) == (401, path)


@pytest.mark.parametrize(
    ("path", "heading"),
    [
        ("/sdapi/v1/txt2img", "From AUTOMATIC1111's API"),
        ("/v1/generation/text-to-image", "From Fooocus-API: the endpoints"),
        ("/v2/generation/image-prompt", "From Fooocus-API: the endpoints"),
        ("/prompt", "From ComfyUI's server"),
        ("/history/123", "From ComfyUI's server"),
        ("/v1/images/generations", "docs/migration.md"),
        ("/API/GetNewSession", "docs/migration.md"),
        ("/nowhere", "GET /docs"),
        ("/promptly", "GET /docs"),
    ],
)
async def test_the_paths_of_other_servers_are_told_where_to_read(
    tmp_path: Path, path: str, heading: str
) -> None:
    async with (
        serve(tmp_path, apis="none") as focal,
        focal.session.post(path, json={}) as answer,
    ):
        assert answer.status == 404
        assert heading in (await answer.json())["detail"]
    assert not heading.startswith("From") or f"## {heading}\n" in MIGRATION
