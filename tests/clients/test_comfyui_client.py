"""comfy-api-simplified 1.6.0 and httpx-sse against a real server: queue, history, events."""

import pytest

from tests.clients.conftest import Run
from tools.server_process import ServerProcess

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_published_client_of_comfyui_watches_the_server(
    server: ServerProcess, run_client: Run
) -> None:
    run_client("comfyui", server.url)
