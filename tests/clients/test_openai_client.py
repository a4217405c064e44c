"""OpenAI's published client, sync and async, against a real server: pictures as by our own API."""

import pytest

from tests.clients.conftest import Run
from tools.server_process import ServerProcess

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_published_client_generates_streams_edits_and_varies(
    server: ServerProcess, run_client: Run
) -> None:
    run_client("openai", server.url)
    history = server.get("/tasks?query=history&page_size=200")["history"]
    assert "openai" in {record.get("family") for record in history}
