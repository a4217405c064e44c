"""Writes ``focal_client/structs.py`` from the OpenAPI document: ``python -m tools.write_client``.

Replies become msgspec structs, requests typed dictionaries: only what a caller names is sent.
"""

import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from handlers.ops.openapi import build_document
from handlers.routes import create_router

ROOT: Final = Path(__file__).parents[1]
TARGET: Final = ROOT / "focal_client" / "structs.py"
_WIDTH: Final = 96
_REF: Final = "#/components/schemas/"
# Fields that the client sets itself, by the method that is called.
_OF_THE_CLIENT: Final = frozenset({"stream_output", "async_process"})
_TYPES: Final[Mapping[str, str]] = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
}
_HEAD: Final = '''"""Structs of the HTTP API, written from its OpenAPI document. Not to be edited.

In the server's repository, ``python -m tools.write_client`` writes this file.
"""

from pathlib import Path
from typing import Any, Literal, TypedDict

import msgspec

# A URL, a path on the server, a data URL or base64; a file and its bytes are uploaded first.
ImageSource = str | bytes | Path


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What a server answers. Fields that a newer server adds are ignored."""
'''


def client_structs() -> str:
    """The source of the module, formatted. The document's own API only, no other servers'."""
    document = build_document(create_router(apis=()))
    schemas: dict[str, Any] = document["components"]["schemas"]
    requests = _within(schemas, _roots(document, "requestBody"))
    replies = _within(schemas, _roots(document, "responses"))
    parts = [_HEAD]
    parts += [_reply(name, schemas[name]) for name in _in_order(schemas, replies)]
    parts += [_request(name, schemas[name]) for name in _in_order(schemas, requests)]
    return _formatted("\n\n".join(parts))


def _roots(document: Mapping[str, Any], part: str) -> Iterator[Any]:
    for methods in document["paths"].values():
        for operation in methods.values():
            yield operation.get(part, {})


def _within(schemas: Mapping[str, Any], nodes: Iterator[Any]) -> set[str]:
    """The names of the schemas that ``nodes`` refer to, directly or through others."""
    names: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            name = str(node.get("$ref", "")).removeprefix(_REF)
            if name and name not in names:
                names.add(name)
                waiting.append(schemas[name])
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return names


def _in_order(schemas: Mapping[str, Any], names: set[str]) -> list[str]:
    """Names so that each stands behind those it refers to, else by the alphabet."""
    order: list[str] = []

    def place(name: str) -> None:
        if name in order:
            return
        for inner in sorted(_within(schemas, iter([schemas[name]]))):
            place(inner)
        order.append(name)

    for name in sorted(names):
        place(name)
    return order


def _reply(name: str, schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    lines = []
    for field, kind in schema["properties"].items():
        text = _type(kind, is_open=True)
        lines += _explained(kind)
        if field in required:
            lines.append(f"{field}: {text}")
        elif "default" in kind:
            default = kind["default"]
            value = list(default) if isinstance(default, tuple) else default
            lines.append(f"{field}: {text} = {value!r}")
        else:
            lines.append(f"{field}: {text} | None = None")
    return _class(f"class {name}(Reply, frozen=True, kw_only=True):", schema, lines)


def _request(name: str, schema: Mapping[str, Any]) -> str:
    lines = []
    for field, kind in schema["properties"].items():
        if field not in _OF_THE_CLIENT:
            lines += [*_explained(kind), f"{field}: {_type(kind)}"]
    return _class(f"class {name}(TypedDict, total=False):", schema, lines)


def _class(head: str, schema: Mapping[str, Any], lines: list[str]) -> str:
    text = schema.get("description", schema["title"])
    about = textwrap.wrap(text, _WIDTH - 8)
    if len(about) == 1:
        documented = [f'"""{about[0]}"""']
    else:
        first, _, rest = text.partition(". ")
        documented = [f'"""{first}.', "", *textwrap.wrap(rest, _WIDTH - 4), '"""']
    return "\n".join([head, *(f"    {line}".rstrip() for line in [*documented, "", *lines]), ""])


def _explained(schema: Mapping[str, Any]) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(schema.get("description", ""), _WIDTH - 6)]


def _type(schema: Mapping[str, Any], *, is_open: bool = False) -> str:
    """A schema as a Python annotation. Where it ``is_open``, a choice may get new values."""
    inner = partial(_type, is_open=is_open)
    match schema:
        case {"$ref": reference}:
            text = str(reference).removeprefix(_REF)
        case {"anyOf": kinds}:
            text = " | ".join(dict.fromkeys(inner(kind) for kind in kinds))
        case {"enum": choices} if not is_open:
            text = _choice(choices)
        case {"type": "array"}:
            text = f"list[{inner(schema['items'])}]"
        case {"type": "object"}:
            text = f"dict[str, {inner(schema.get('additionalProperties', {}))}]"
        case {"type": list(kinds)}:
            text = " | ".join(inner({**schema, "type": kind}) for kind in kinds)
        case _:
            text = _TYPES.get(schema.get("type", ""), "Any")
    return "ImageSource" if text == "str" and schema.get("x-image") else text


def _choice(choices: list[Any]) -> str:
    named = [value for value in choices if value is not None]
    text = f"Literal[{', '.join(map(repr, named))}]"
    return text if len(named) == len(choices) else f"{text} | None"


def _formatted(source: str) -> str:
    """By ruff, as everything in the repository."""
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(TARGET), "-"]
    done = subprocess.run(command, input=source.encode(), capture_output=True, check=True)  # noqa: S603
    return done.stdout.decode()


def main() -> None:
    """Write the module."""
    TARGET.write_text(client_structs(), encoding="utf-8")


if __name__ == "__main__":
    main()
