"""Every operation of /openapi.json with generated requests, valid and not (schemathesis).

No reply may be an internal error, of a status that the document does not name, of another
content type or off its schema.
"""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from handlers.ops.openapi import build_document
from handlers.routes import create_router
from tests.fuzz.scale import SCALE, examples
from tools.server_process import ROOT, ServerProcess, running_server

log = logging.getLogger(__name__)

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(3600)]

SERVER: Final = ROOT / "bench" / "sketching_server.py"
CASES: Final = examples(10)  # of each operation
WAIT_S: Final = 30.0
# Open as long as the client likes: only their head is read.
STREAMS: Final = ("/v1/events", "/ws", "/api/ws")
CHECKS: Final = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,  # last: it takes a stream's text for the schema of one event
]
# What a server without models, or one that is asked for what it has not, may answer.
NOT_READY: Final = {"model_not_installed", "not_implemented", "download_failed"}
A1111_IMAGE: Final = (500, "unreadable_image")  # as A1111 answers bytes that are no picture

AnyCase = schemathesis.Case[Any]

schema = schemathesis.openapi.from_dict(json.loads(json.dumps(build_document(create_router()))))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server whose device draws at once."""
    folder: Path = tmp_path_factory.mktemp("api")
    options = ["--preset", "embedded", "--models-dir", str(folder / "models")]
    with running_server([*options, "--downloads", "forbid"], folder, program=SERVER) as server:
        yield server
        counted = requests.get(f"{server.url}/metrics", timeout=WAIT_S).text
        found = re.findall(r"^focal_request_seconds_count\S* (\d+)", counted, re.MULTILINE)
        log.info("%d requests", sum(map(int, found)))


@pytest.fixture(autouse=True)
def _running_queue(served: ServerProcess) -> Iterator[None]:
    """Generated requests pause the queue too."""
    yield
    requests.post(f"{served.url}/v1/queue/resume", timeout=WAIT_S)


@schema.parametrize()
@settings(
    max_examples=CASES,
    deadline=None,
    derandomize=SCALE == 1,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
def test_every_reply_is_as_the_document_says(case: AnyCase, served: ServerProcess) -> None:
    if case.path in STREAMS:
        _check_head(case, served)
        return
    response = case.call(base_url=served.url, timeout=WAIT_S)
    if case.path != "/health":
        _check_fault(response)
    is_stream = "text/event-stream" in str(response.headers.get("content-type"))
    case.validate_response(response, checks=CHECKS[:-1] if is_stream else CHECKS)


def _check_fault(response: Any) -> None:
    """No 5xx, but for what the reply's code says is missing here."""
    if response.status_code >= 500:
        body = response.json()
        code = body["code"] if "code" in body else body["error"]
        if isinstance(code, dict):  # of an API family that has an object there
            code = code.get("code") or code["type"]
        assert code in NOT_READY or (response.status_code, code) == A1111_IMAGE, response.text


def _check_head(case: AnyCase, served: ServerProcess) -> None:
    asked = case.as_transport_kwargs(base_url=served.url)
    with requests.request(**asked, stream=True, timeout=WAIT_S) as response:
        documented = case.operation.definition.raw["responses"]
        is_other_method = case.method.upper() != case.operation.method.upper()
        assert str(response.status_code) in documented or is_other_method, response.text
        assert response.status_code < 500
