"""webuiapi 0.9.17 against a real server: pictures as by our own API, settings, progress."""

import pytest

from tests.clients.conftest import Run
from tools.server_process import ServerProcess

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_published_client_of_a1111_works_as_it_is(
    server: ServerProcess, run_client: Run
) -> None:
    run_client("webuiapi", server.url)
