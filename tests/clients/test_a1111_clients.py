"""Published clients of A1111's API against a real server: webuiapi 0.9.17, aaa1111."""

import pytest

from tests.clients.conftest import Run
from tools.server_process import ServerProcess

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_published_client_of_a1111_works_as_it_is(
    server: ServerProcess, run_client: Run
) -> None:
    run_client("webuiapi", server.url)


def test_a_client_that_checks_the_types_of_every_reply(
    server: ServerProcess, run_client: Run
) -> None:
    run_client("aaa1111", server.url)
