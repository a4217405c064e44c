"""The size of a file that has not been fetched."""

from pipeline.files.remote_size import remote_size
from tests.file_server import serve_files

NOBODY = "http://127.0.0.1:9/x.safetensors"  # the discard port: nothing listens there


def test_the_sender_tells_the_size() -> None:
    with serve_files(bytes(1234)) as files:
        assert remote_size(files.file_url("x.safetensors"), {}) == 1234


def test_a_mirror_is_asked_in_place_of_the_hub() -> None:
    with serve_files(bytes(77)) as files:
        url = "https://huggingface.co/some/model/resolve/main/x.safetensors"
        assert remote_size(url, {"HF_MIRROR": files.url, "HF_TOKEN": "secret"}) == 77
        assert "Authorization" not in files.seen[0]


def test_a_sender_that_is_not_there_tells_nothing() -> None:
    assert remote_size(NOBODY, {}) == 0
