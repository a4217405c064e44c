#!/usr/bin/env bash
# Fooocus-API-python-client 1.0.0 (pydantic 2.14.4), the client that Fooocus-API publishes: of an image prompt's form it sends pictures and
# types, and fails by itself, before anything is sent, where a stop or a weight is given in the classes that it wants them in. Guess that
# missed: whatever its methods take can be sent. A server for it has to do with each type's own stop and weight.
# Seen: nothing but the picture: sent; cn_stop1=CnStop1(0.5), cn_weight1=CnWeight1(0.6): AttributeError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check Fooocus-API-python-client==1.0.0 pydantic==2.14.4 urllib3==2.0.7 \
    python-dateutil==4.0.0
printf 'GIF89a\1\0\1\0\0\0\0;' > "$folder/picture.gif"
"$folder/venv/bin/python" - "$folder/picture.gif" <<'PY'
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import fooocusapi_client as client
from fooocusapi_client import models


class Listening(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Listening)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = client.Configuration(host=f"http://127.0.0.1:{server.server_port}")
send = client.DefaultApi(client.ApiClient(address)).img_prompt_v1_generation_image_prompt_post


def outcome(**given):
    try:
        send(cn_img1=sys.argv[1], prompt="a star", **given)
    except (AttributeError, TypeError) as error:
        return type(error).__name__
    return "sent"


print("Fooocus-API-python-client", version("Fooocus-API-python-client"), "pydantic", version("pydantic"))
cases = (
    {},
    {"cn_stop1": models.CnStop1(0.5)},
    {"cn_weight1": models.CnWeight1(0.6)},
)
seen = [outcome(**given) for given in cases]
for given, found in zip(cases, seen):
    print(*given or ["nothing but the picture"], "->", found)
sys.exit(0 if seen == ["sent", "AttributeError", "AttributeError"] else 1)
PY
