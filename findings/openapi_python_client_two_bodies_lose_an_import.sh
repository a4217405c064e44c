#!/usr/bin/env bash
# openapi-python-client 0.29.1: of an operation whose request body has two media types, and no optional parameter, it
# writes a module that cannot be imported: "NameError: name 'Unset' is not defined". It warns of nothing.
# A guess that missed: "what generates without a warning can be imported". Exits with 0 while that holds, 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openapi-python-client==0.29.1 ruff==0.17.6
cd "$folder"
cat > openapi.json <<'JSON'
{
  "openapi": "3.1.0",
  "info": {"title": "two bodies", "version": "1"},
  "paths": {"/file": {"post": {
    "operationId": "store", "tags": ["files"],
    "requestBody": {"required": true, "content": {
      "multipart/form-data": {"schema": {
        "type": "object", "required": ["file"], "properties": {"file": {"type": "string", "format": "binary"}}}},
      "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
    "responses": {"200": {"description": "stored"}}}}}
}
JSON
PATH="$folder/venv/bin:$PATH" openapi-python-client generate --path openapi.json --meta none --output-path made --fail-on-warning
if seen=$(venv/bin/python -c "import made.api.files.store" 2>&1); then
  echo "changed: the module can be imported"
  exit 1
fi
echo "$seen" | tail -n 1
grep -q "name 'Unset' is not defined" <<< "$seen"
