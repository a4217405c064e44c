"""One file over HTTP, from servers that misbehave in every way."""

import hashlib
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from pipeline.errors import DownloadFailed, TaskAborted
from pipeline.files.download import Download, DownloadLimits
from pipeline.files.hub import HUB, HubToken, mirrored
from tests.file_server import (
    FileServer,
    breaks_off_after,
    hub,
    ignores_range,
    redirects,
    says_length,
    serve_files,
    stalls_after,
    status,
    whole,
    without_length,
)

CONTENT = bytes(range(256)) * 2000  # 512,000 bytes
LIMITS = DownloadLimits(stall_seconds=0.3, retry_seconds=0.0, tries=3, redirects=2, spare_bytes=0)


class Watch:
    """Notes what is told; ``end_after`` bytes it ends the download."""

    def __init__(self, end_after: int | None = None) -> None:
        self.told: list[tuple[int, int]] = []
        self._end_after = end_after

    def check(self) -> None:
        if self._end_after is not None and self.told and self.told[-1][0] >= self._end_after:
            raise TaskAborted("stopped")

    def progress(self, received: int, total: int) -> None:
        self.told.append((received, total))


@pytest.fixture
def files() -> Iterator[FileServer]:
    with serve_files(CONTENT) as server:
        yield server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "loras" / "model.bin"


def fetch(
    files: FileServer, target: Path, checksum: str = "", watch: Watch | None = None, **env: str
) -> Watch:
    watch = watch or Watch()
    Download(files.file_url("model.bin"), target, checksum, LIMITS, env).run(watch)
    return watch


def left_over(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def ranges(files: FileServer) -> list[str | None]:
    return [headers.get("Range") for headers in files.seen]


def test_a_file_arrives_whole_and_leaves_nothing_beside_it(files: FileServer, target: Path) -> None:
    watch = fetch(files, target, f"sha256:{files.sha256}")
    assert target.read_bytes() == CONTENT
    assert left_over(target) == ["model.bin"]
    assert watch.told[-1] == (len(CONTENT), len(CONTENT))
    received = [count for count, _ in watch.told]
    assert received == sorted(received)
    assert files.seen[0]["User-Agent"] == "Focal"


def test_a_connection_that_breaks_off_is_taken_up_where_it_ended(
    files: FileServer, target: Path
) -> None:
    files.answers = [breaks_off_after(200_000), breaks_off_after(100_000)]
    fetch(files, target, f"sha256:{files.sha256}")
    assert target.read_bytes() == CONTENT
    assert ranges(files) == [None, "bytes=200000-", "bytes=300000-"]
    assert files.seen[1]["If-Range"] == '"one"'


def test_what_has_come_is_kept_for_the_next_time(files: FileServer, target: Path) -> None:
    files.answers = [breaks_off_after(200_000), *[status(503)] * 3]
    with pytest.raises(DownloadFailed, match=r"503.*kept for the next try"):
        fetch(files, target)
    assert not target.exists()
    assert target.with_name("model.bin.part").stat().st_size == 200_000
    fetch(files, target)
    assert target.read_bytes() == CONTENT
    assert ranges(files)[-1] == "bytes=200000-"
    assert left_over(target) == ["model.bin"]


def test_as_long_as_bytes_come_it_goes_on(files: FileServer, target: Path) -> None:
    files.answers = [breaks_off_after(50_000) for _ in range(8)]
    fetch(files, target)
    assert target.read_bytes() == CONTENT


def test_a_server_that_stalls_is_asked_again(files: FileServer, target: Path) -> None:
    files.answers = [stalls_after(131_072)]
    fetch(files, target)
    assert target.read_bytes() == CONTENT
    assert ranges(files)[1] == "bytes=131072-"


def test_a_server_that_only_stalls_is_given_up(files: FileServer, target: Path) -> None:
    files.answers = [stalls_after(0) for _ in range(3)]
    with pytest.raises(DownloadFailed, match="stopped answering"):
        fetch(files, target)


def test_a_stop_ends_it_and_keeps_what_has_come(files: FileServer, target: Path) -> None:
    with pytest.raises(TaskAborted):
        fetch(files, target, watch=Watch(end_after=200_000))
    assert not target.exists()
    assert target.with_name("model.bin.part").stat().st_size >= 200_000
    fetch(files, target)
    assert target.read_bytes() == CONTENT
    assert ranges(files)[1] is not None


def test_a_file_that_changed_between_tries_is_fetched_from_its_beginning(
    files: FileServer, target: Path
) -> None:
    def changes(server: FileServer, handler: object) -> None:
        server.content, server.etag = CONTENT[::-1], '"two"'
        whole(server, handler)  # type: ignore[arg-type]

    files.answers = [breaks_off_after(200_000), changes]
    fetch(files, target)
    assert target.read_bytes() == CONTENT[::-1]
    assert len(files.seen) == 2


def test_a_server_that_resumes_another_file_is_found_out(files: FileServer, target: Path) -> None:
    """It keeps its ETag although the content, and its length, are not what they were."""
    files.answers = [breaks_off_after(200_000)]
    files.answers += [status(503)] * 3
    with pytest.raises(DownloadFailed, match="503"):
        fetch(files, target)
    files.content = CONTENT[::-1] + b"longer"
    fetch(files, target)
    assert target.read_bytes() == files.content


def test_a_server_that_ignores_ranges_sends_all_again(files: FileServer, target: Path) -> None:
    files.answers = [breaks_off_after(200_000), ignores_range]
    fetch(files, target, f"sha256:{files.sha256}")
    assert target.read_bytes() == CONTENT


def test_without_an_etag_nothing_is_taken_up(files: FileServer, target: Path) -> None:
    files.etag = ""
    files.answers = [breaks_off_after(200_000)]
    fetch(files, target)
    assert target.read_bytes() == CONTENT
    assert ranges(files) == [None, None]


def test_a_server_that_promises_more_than_it_sends_is_given_up(
    files: FileServer, target: Path
) -> None:
    files.answers = [says_length(len(CONTENT) + 1000)] * 8
    with pytest.raises(DownloadFailed, match="could not be fetched"):
        fetch(files, target)
    assert not target.exists()


@pytest.mark.parametrize("size", [400_000, 600_000])
def test_a_length_other_than_what_the_hub_says_is_no_file(
    files: FileServer, target: Path, size: int
) -> None:
    answers = [hub(files, size=size), whole] * 8
    files.answers = answers
    with pytest.raises(DownloadFailed):
        fetch(files, target)
    assert not target.exists()


def test_a_file_without_a_length_is_taken(files: FileServer, target: Path) -> None:
    files.answers = [without_length]
    watch = fetch(files, target, f"sha256:{files.sha256}")
    assert target.read_bytes() == CONTENT
    assert {total for _, total in watch.told} == {0}


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_wrong_checksum_is_no_file_and_nothing_of_it_is_kept(
    files: FileServer, target: Path, algorithm: str
) -> None:
    good = hashlib.new(algorithm, CONTENT).hexdigest()
    with pytest.raises(DownloadFailed, match=f"its {algorithm} is not"):
        fetch(files, target, f"{algorithm}:{good[::-1]}")
    assert left_over(target) == []
    assert len(files.seen) == 1  # more of the same would not help
    fetch(files, target, f"{algorithm}:{good.upper()}")
    assert target.read_bytes() == CONTENT


def test_a_part_that_does_not_belong_is_thrown_away_and_all_is_fetched(
    files: FileServer, target: Path
) -> None:
    files.answers = [breaks_off_after(200_000), *[status(503)] * 3]
    with pytest.raises(DownloadFailed):
        fetch(files, target)
    part = target.with_name("model.bin.part")
    part.write_bytes(bytes(200_000))
    fetch(files, target, f"sha256:{files.sha256}")
    assert target.read_bytes() == CONTENT


def test_what_the_hub_says_of_a_file_is_checked(files: FileServer, target: Path) -> None:
    files.answers = [hub(files)]
    fetch(files, target)
    assert target.read_bytes() == CONTENT
    target.unlink()
    files.answers = [hub(files, sha256="0" * 64)]
    with pytest.raises(DownloadFailed, match="its sha256 is not 000"):
        fetch(files, target)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (status(404), "status 404"),
        (status(401), "HF_TOKEN"),
        (status(403), "HF_TOKEN"),
        (status(200, b"<html>log in</html>", "text/html; charset=utf-8"), "a web page"),
    ],
)
def test_what_is_no_file_is_refused_at_once_and_says_what_to_do(
    files: FileServer, target: Path, answer: object, told: str
) -> None:
    files.answers = [answer]  # type: ignore[list-item]
    with pytest.raises(DownloadFailed) as failed:
        fetch(files, target)
    assert told in str(failed.value)
    assert str(target.parent) in str(failed.value)
    assert files.file_url("model.bin") in str(failed.value)
    assert len(files.seen) == 1
    assert left_over(target) == []


def test_a_server_in_trouble_is_asked_again(files: FileServer, target: Path) -> None:
    files.answers = [status(503), status(429)]
    fetch(files, target)
    assert target.read_bytes() == CONTENT


def test_a_server_that_is_not_there_is_named(target: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"127\.0\.0\.1.*connection failed"):
        Download("http://127.0.0.1:9/model.bin", target, "", LIMITS, {}).run(Watch())


def test_redirects_are_followed_so_far(files: FileServer, target: Path) -> None:
    files.answers = [redirects("/elsewhere"), redirects(f"{files.url}/again")]
    fetch(files, target)
    assert target.read_bytes() == CONTENT
    target.unlink()
    files.answers = [redirects("/round")] * 3
    with pytest.raises(DownloadFailed, match="redirects more than 2 times"):
        fetch(files, target)


def test_no_redirect_leads_from_https_to_http_or_to_files(target: Path) -> None:
    secure = Download("https://example.com/model.bin", target, "", LIMITS, {})
    plain = Download("http://example.com/model.bin", target, "", LIMITS, {})
    for download, location in ((secure, "http://example.com/x"), (plain, "file:///etc/passwd")):
        with pytest.raises(DownloadFailed, match="not https"):
            download._next_url("https://example.com/model.bin", location)
    assert plain._next_url("http://a/b", "/c") == "http://a/c"
    assert secure._next_url("https://a/b", "https://c/d") == "https://c/d"


def test_too_little_room_on_the_disk_is_said_before_anything_is_fetched(
    files: FileServer, target: Path
) -> None:
    free = shutil.disk_usage("/").free
    limits = DownloadLimits(spare_bytes=2 * free)
    with pytest.raises(DownloadFailed, match="MB must be free"):
        Download(files.file_url("model.bin"), target, "", limits, {}).run(Watch())
    assert left_over(target) == []


def test_a_safetensors_file_must_be_as_long_as_its_header_says(target: Path) -> None:
    header = b'{"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
    good = struct.pack("<Q", len(header)) + header + b"1234"
    path = target.with_name("m.safetensors")
    for content in (good[:-1], b"not at all", b""):
        with (
            serve_files(content) as files,
            pytest.raises(DownloadFailed, match="no whole safetensors file"),
        ):
            fetch(files, path)
    with serve_files(good) as files:
        fetch(files, path)
    assert path.read_bytes() == good


def test_the_access_token_goes_to_the_hub_and_nowhere_else(files: FileServer, target: Path) -> None:
    fetch(files, target, HF_TOKEN="hf_secret")
    assert "Authorization" not in files.seen[0]

    def sent(url: str) -> str | None:
        request = requests.Request("GET", url, auth=HubToken("hf_secret")).prepare()
        return request.headers.get("Authorization")

    assert sent("https://huggingface.co/a/b") == "Bearer hf_secret"
    for url in (
        "http://huggingface.co/a",
        "https://huggingface.co.example/a",
        "https://huggingface.co@example.com/a",
        "https://cdn.example/a",
    ):
        assert sent(url) is None


def test_a_mirror_stands_in_for_the_hub_alone(files: FileServer, target: Path) -> None:
    url = "https://huggingface.co/a/resolve/main/model.bin"
    Download(url, target, "", LIMITS, {"HF_MIRROR": f"{files.url}/"}).run(Watch())
    assert target.read_bytes() == CONTENT
    assert mirrored("https://github.com/a", {"HF_MIRROR": "https://m"}) == "https://github.com/a"
    both = {"HF_MIRROR": "https://m", "HF_ENDPOINT": "https://e"}
    assert mirrored(f"{HUB}/a", both) == "https://m/a"
    assert mirrored(f"{HUB}/a", {"HF_ENDPOINT": "https://e/"}) == "https://e/a"


def test_a_netrc_file_is_not_asked(
    files: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    fetch(files, target)
    assert "Authorization" not in files.seen[0]


def test_a_proxy_of_the_environment_is_used(
    files: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", files.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    Download("http://models.example/model.bin", target, "", LIMITS, {}).run(Watch())
    assert target.read_bytes() == CONTENT
