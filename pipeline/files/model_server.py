"""Model files from another server of ours, for workers whose machine lacks them."""

from urllib.parse import urlencode

import msgspec
import requests
from requests.auth import AuthBase

from pipeline.request.model_file import ModelFile

PATH = "/v1/models/file"


class ModelServer(msgspec.Struct, frozen=True, kw_only=True):
    """A server's address, as ``http://first:7866``, and its API key, if it asks for one."""

    url: str
    key: str = ""

    def offered(self, file: ModelFile) -> ModelFile:
        """The file as that server has it. Its reply tells size and SHA-256."""
        query = urlencode({"folder": file.folder, "name": file.name})
        return msgspec.structs.replace(file, url=f"{self.url.rstrip('/')}{PATH}?{query}")


class ServerKey(AuthBase):
    """The key, sent to that server only."""

    def __init__(self, server: ModelServer) -> None:
        self._server = server

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header where it belongs."""
        if self._server.key and (request.url or "").startswith(self._server.url.rstrip("/") + PATH):
            request.headers["Authorization"] = f"Bearer {self._server.key}"
        return request
