"""Fooocus-API-python-client 1.0.0: every call against a real server, pictures as by our own API."""

import pytest

from tests.clients.conftest import Run
from tools.server_process import ServerProcess

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(600)]


def test_every_call_of_the_published_client(server: ServerProcess, run_client: Run) -> None:
    run_client("fooocus-api", server.url)
    history = server.get("/tasks?query=history&page_size=200")["history"]
    assert {record.get("family") for record in history} == {None, "fooocus-api"}
