"""Files that are known by name: found, fetched, waited for, refused."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import (
    DownloadFailed,
    ImageSkipped,
    ModelNotFound,
    ModelNotInstalled,
    TaskAborted,
)
from pipeline.files.catalog import CHECKPOINTS, LORAS, VAES, ModelCatalog
from pipeline.files.download import DownloadLimits
from pipeline.files.locate import ModelFiles
from pipeline.files.registry import BACKGROUND_MODELS, KNOWN_FILES, UPSCALER, find_known
from pipeline.request.model_file import ModelFile
from pipeline.request.performance import FAST_MODES
from pipeline.request.presets import PresetStore
from pipeline.scheduling.task import MadeImage
from tests.file_server import FileServer, serve_files, stalls_after, status, whole

CONTENT = bytes(2_000_000)
LIMITS = DownloadLimits(stall_seconds=5, retry_seconds=0.0, tries=2, spare_bytes=0)
WAIT_S = 10.0


class Listener:
    """Takes what a task is told; raises ``error`` when asked, if one is set."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.error: Exception | None = None
        self.waits = threading.Event()

    def check(self) -> None:
        if self.error is not None:
            raise self.error

    def progress(self, percent: int, message: str, *, step: int = 0, steps: int = 0) -> None:
        self.told.append(message)
        if message.startswith("Waiting"):
            self.waits.set()

    def begin_image(self, image: int, images: int) -> None: ...

    def wants_preview(self) -> bool:
        return False

    def preview(self, data: bytes, mime: str) -> None: ...

    def image(self, made: MadeImage) -> None: ...

    def note(self, key: str, value: object) -> None: ...

    def model(self, kind: str, name: str, seconds: float | None) -> None: ...


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve_files(CONTENT) as files:
        yield files


@pytest.fixture
def known(server: FileServer) -> ModelFile:
    return ModelFile("upscale_models", "up.bin", server.file_url("up.bin"))


def files_in(
    folder: Path, *, allowed: bool = True, presets: PresetStore | None = None
) -> ModelFiles:
    catalog = ModelCatalog(folder / "models")
    return ModelFiles(catalog, presets, allowed=allowed, limits=LIMITS)


def preset_with(folder: Path, **downloads: dict[str, str]) -> PresetStore:
    (folder / "presets").mkdir()
    (folder / "presets" / "mine.json").write_text(json.dumps(downloads))
    (folder / "presets" / "broken.json").write_text("{")
    return PresetStore(folder / "presets", "mine")


def test_every_known_file_has_a_place_of_its_own_and_a_secure_address() -> None:
    assert len({(file.folder, file.name) for file in KNOWN_FILES}) == len(KNOWN_FILES)
    for file in KNOWN_FILES:
        assert file.url.startswith("https://")
        assert find_known(file.folder, file.name) is file
        assert not file.checksum or file.checksum.split(":")[0] in ("sha256", "md5")
    assert {mode.lora for mode in FAST_MODES.values()} <= {file.name for file in KNOWN_FILES}
    assert find_known(UPSCALER.folder, "other") is None


def test_files_whose_sender_tells_no_checksum_have_one_here() -> None:
    assert all(file.checksum for file in BACKGROUND_MODELS.values())


def test_a_file_that_is_there_is_not_fetched(tmp_path: Path, known: ModelFile) -> None:
    files = files_in(tmp_path, allowed=False)
    path = tmp_path / "models" / "upscale_models" / "up.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    assert files.require(known) == path
    assert files.require(ModelFile("upscale_models", "up.bin")) == path
    assert path.read_bytes() == b"mine"


def test_a_missing_file_is_fetched_and_the_task_is_told(
    tmp_path: Path, known: ModelFile, server: FileServer
) -> None:
    told: list[tuple[str, int, int]] = []
    catalog = ModelCatalog(tmp_path / "models")
    files = ModelFiles(catalog, limits=LIMITS, on_progress=lambda *facts: told.append(facts))
    listener = Listener()
    path = files.require(known, listener)
    assert path == tmp_path / "models" / "upscale_models" / "up.bin"
    assert path.read_bytes() == CONTENT
    assert listener.told[-1] == "Downloading up.bin, 2 of 2 MB ..."
    assert told[-1] == ("up.bin", len(CONTENT), len(CONTENT))
    assert len(told) == len(listener.told) < 10  # 16 pieces came, in less than a second or two
    assert files.require(known, listener) == path
    assert len(server.seen) == 1


def test_without_permission_the_error_says_what_to_put_where(
    tmp_path: Path, known: ModelFile, server: FileServer
) -> None:
    with pytest.raises(ModelNotInstalled) as refused:
        files_in(tmp_path, allowed=False).require(known)
    for part in ("up.bin", "models/upscale_models", known.url, "--downloads"):
        assert part in str(refused.value)
    assert str(tmp_path) not in str(refused.value)
    assert server.seen == []


def test_a_file_that_nobody_knows_is_named_with_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelNotInstalled, match=r"strange\.bin.*models/sam; put it there"):
        files_in(tmp_path).require(ModelFile("sam", "strange.bin"))


def test_a_download_that_fails_names_the_file_and_can_be_tried_again(
    tmp_path: Path, known: ModelFile, server: FileServer
) -> None:
    files = files_in(tmp_path)
    server.answers = [status(404)]
    with pytest.raises(DownloadFailed, match=r"up\.bin.*404.*models/upscale_models") as failed:
        files.require(known)
    assert str(tmp_path) not in str(failed.value)
    assert files.require(known).read_bytes() == CONTENT


def test_two_tasks_that_want_one_file_fetch_it_once(
    tmp_path: Path, known: ModelFile, server: FileServer
) -> None:
    begun = threading.Event()

    def waits(files: FileServer, handler: object) -> None:
        begun.set()
        files.gone_on.wait(WAIT_S)
        whole(files, handler)  # type: ignore[arg-type]

    server.answers = [waits]
    second = Listener()
    found: list[Path] = []
    # Each worker has a ModelFiles of its own, mostly in a process of its own.
    threads = [
        threading.Thread(
            target=lambda who=who: found.append(files_in(tmp_path).require(known, who))
        )
        for who in (Listener(), second)
    ]
    threads[0].start()
    assert begun.wait(WAIT_S)
    threads[1].start()
    assert second.waits.wait(WAIT_S)
    server.gone_on.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert len(found) == 2
    assert len(server.seen) == 1
    assert second.told == ["Waiting for the download of up.bin ..."] * len(second.told)


def test_a_task_that_waits_for_anothers_download_can_be_stopped(
    tmp_path: Path, known: ModelFile, server: FileServer
) -> None:
    server.answers = [stalls_after(10)]
    files = files_in(tmp_path)
    first, second = Listener(), Listener()
    ended = threading.Event()

    def fetch() -> None:
        with pytest.raises(TaskAborted):
            files.require(known, first)
        ended.set()

    thread = threading.Thread(target=fetch)
    thread.start()
    try:
        second.error = TaskAborted("stopped")
        while not server.seen:
            assert not ended.wait(0.01)
        with pytest.raises(TaskAborted):
            files.require(known, second)
    finally:
        first.error = TaskAborted("stopped")
        server.gone_on.set()
        thread.join(WAIT_S)
    assert ended.is_set()


def test_a_skip_skips_no_download(tmp_path: Path, known: ModelFile) -> None:
    listener = Listener()
    listener.error = ImageSkipped("skipped")
    assert files_in(tmp_path).require(known, listener).read_bytes() == CONTENT


def test_a_preset_says_where_its_files_are_to_be_had(tmp_path: Path, server: FileServer) -> None:
    url = server.file_url("x")
    presets = preset_with(
        tmp_path,
        checkpoint_downloads={"c.safetensors": "https://example.com/c"},
        lora_downloads={"l.bin": url},
        vae_downloads={"sub/v.pt": url},
        embeddings_downloads={"e.pt": url},
    )
    files = files_in(tmp_path, presets=presets)
    lora = files.require(files.look_up(LORAS, "l.bin", ("loras",)))
    assert lora == tmp_path / "models" / "loras" / "l.bin"
    assert lora.read_bytes() == CONTENT
    vae = files.look_up(VAES, "sub/v.pt", ("vae_name",))
    assert files.require(vae).read_bytes() == CONTENT
    files.look_up(CHECKPOINTS, "c.safetensors", ("base_model_name",))
    with pytest.raises(ModelNotFound):
        files.look_up(CHECKPOINTS, "l.bin", ("base_model_name",))
    with pytest.raises(ModelNotInstalled, match=r"https://example\.com/c"):
        files_in(tmp_path, presets=presets, allowed=False).look_up(
            CHECKPOINTS, "c.safetensors", ("base_model_name",)
        )


@pytest.mark.parametrize(
    "name", ["../out.bin", "/etc/out.bin", "a/../../out.bin", "..\\out.bin", "C:out.bin", ".x", ""]
)
def test_no_preset_leads_out_of_the_models_folder(
    tmp_path: Path, server: FileServer, name: str
) -> None:
    presets = preset_with(tmp_path, lora_downloads={name: server.file_url("x")})
    files = files_in(tmp_path, presets=presets)
    assert files.find(LORAS, name) is None
    with pytest.raises(ModelNotInstalled, match="no name of a file"):
        files.require(ModelFile(LORAS, name, server.file_url("x")))
    assert server.seen == []


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://x.example/l", "https:///l", "https://x.example:99999/l"]
)
def test_a_presets_address_that_is_no_web_address_is_none(tmp_path: Path, url: str) -> None:
    presets = preset_with(tmp_path, lora_downloads={"l.bin": url})
    assert files_in(tmp_path, presets=presets).find(LORAS, "l.bin") is None


def test_clients_and_logs_are_not_told_the_secret_in_a_presets_address(
    tmp_path: Path, server: FileServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    url = server.file_url("l.bin") + "?token=SECRET"
    presets = preset_with(tmp_path, lora_downloads={"l.bin": url})
    with pytest.raises(ModelNotInstalled) as refused:
        files_in(tmp_path, presets=presets, allowed=False).look_up(LORAS, "l.bin", ("loras",))
    assert "/l.bin" in str(refused.value)
    files = files_in(tmp_path, presets=presets)
    files.require(files.look_up(LORAS, "l.bin", ("loras",)))
    assert "SECRET" not in f"{refused.value} {caplog.text}"
