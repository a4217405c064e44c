"""What is done with many pictures at once: a zip, boards, a view of single pictures, sorting."""

import io
import zipfile

import pytest

from tests.integration.serving import Focal


async def zip_of(focal: Focal, **body: object) -> zipfile.ZipFile:
    async with focal.session.post("/v1/history/zip", **body) as answer:  # type: ignore[arg-type]
        assert answer.status == 200, await answer.text()
        assert answer.headers["Content-Type"] == "application/zip"
        assert answer.headers["Content-Disposition"].startswith('attachment; filename="focal-')
        data = await answer.read()
        assert len(data) == int(answer.headers["Content-Length"])
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert archive.testzip() is None
    return archive


async def test_a_zip_has_the_pictures_of_tasks_and_single_ones(focal: Focal) -> None:
    first = await focal.generate({"prompt": "one", "image_number": 2})
    second = await focal.generate({"prompt": "two"})
    paths = [url.removeprefix(focal.url) for url in (*first["result"], *second["result"])]
    body = {
        "task_ids": [first["task_id"], "nobody"],
        "pictures": [paths[2], paths[0], "/outputs/../db.sqlite3", "/etc/passwd"],
    }
    archive = await zip_of(focal, json=body)
    assert sorted(archive.namelist()) == sorted(path.removeprefix("/outputs/") for path in paths)
    for name in archive.namelist():
        assert archive.read(name) == (focal.folder / "outputs" / name).read_bytes()
    form = {"task_ids": "", "pictures": ",".join(paths[:2])}
    assert len((await zip_of(focal, data=form)).namelist()) == 2


@pytest.mark.parametrize(
    ("body", "status"),
    [({"task_ids": ["nobody"]}, 404), ({}, 404), ({"pictures": "all"}, 422)],
)
async def test_a_zip_of_nothing_is_refused(
    focal: Focal, body: dict[str, object], status: int
) -> None:
    async with focal.session.post("/v1/history/zip", json=body) as answer:
        assert answer.status == status


async def test_the_history_is_sorted_and_shown_by_picture(focal: Focal) -> None:
    for prompt, number in (("a", 1), ("b", 2), ("c", 1)):
        await focal.generate({"prompt": prompt, "image_number": number})

    async def prompts(**query: str) -> str:
        found = await focal.get("/v1/history", 200, **query)
        return "".join(card["prompt"] for card in found["items"])

    assert await prompts() == "cba"
    assert await prompts(order="oldest") == "abc"
    assert await prompts(order="oldest", offset="1", limit="1") == "b"
    assert await prompts(order="oldest", offset="2", limit="9") == "c"
    assert await prompts(by="picture") == "cbba"
    assert await prompts(by="picture", order="oldest", offset="2") == "bc"
    found = await focal.get("/v1/history", by="picture", order="oldest", offset="1", limit="2")
    assert [card["picture"] for card in found["items"]] == [1, 0]
    assert found["total"] == 4
    await focal.get("/v1/history", order="random", status=422)


async def test_boards_are_made_filled_renamed_and_deleted(focal: Focal) -> None:
    task_id = (await focal.generate({}))["task_id"]

    async def board(action: str, status: int = 200, **body: object) -> object:
        async with focal.session.post(f"/v1/boards{action}", json=body) as answer:
            assert answer.status == status, await answer.text()
            return (await answer.json()).get("boards")

    assert await board("", name=" Stars ", add=[task_id]) == [{"name": "Stars", "tasks": 1}]
    assert (await focal.get("/v1/history", board="Stars"))["total"] == 1
    assert (await focal.get("/v1/history", board="Moons"))["total"] == 0
    assert await board("/rename", name="Stars", to="Suns") == [{"name": "Suns", "tasks": 1}]
    await board("/rename", 404, name="Stars", to="Moons")
    await board("", 422, name="  ")
    await board("", 422, name="a\nb")
    assert await board("/delete", name="Suns") == []
    assert (await focal.get("/v1/history"))["total"] == 1
    await board("/delete", 404, name="Suns")
