"""Query strings: what the OpenAPI document says of each parameter is what the server decodes."""

from collections.abc import Iterator
from typing import Any

import pytest

from handlers.ops.openapi import build_document
from handlers.routes import create_router
from tests.integration.serving import Focal

DOCUMENT: dict[str, Any] = build_document(create_router())
# What a value cannot go without, said in the parameter's text only.
NEEDS = {("/tasks", "action", "delete"): {"start_at": "2100-01-01"}}
BOOLEANS = ("true", "false", "1", "0", "True")


def documented() -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Method, path, one query parameter, and what the operation's other ones must hold."""
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            queries = [each for each in operation["parameters"] if each["in"] == "query"]
            required = {each["name"]: legal(each)[0] for each in queries if each["required"]}
            for parameter in queries:
                yield method, path, parameter, required


def legal(parameter: dict[str, Any]) -> list[str]:
    """Values that the document allows: all choices, the default, both bounds."""
    schema = parameter["schema"]
    if schema.get("type") == "array":
        choices = schema["items"].get("enum", ["x", "y"])
        return ["", choices[0], ",".join(choices)]
    values = [str(value) for value in schema.get("enum", ())]
    if schema.get("type") == "boolean":
        values += BOOLEANS
    for key in ("default", "minimum", "maximum"):
        if key in schema:
            value = schema[key]
            values.append(str(value).lower() if isinstance(value, bool) else str(value))
    return list(dict.fromkeys(values)) or ["2024-07-03" if "ISO" in str(parameter) else ""]


def illegal(parameter: dict[str, Any]) -> list[str]:
    """Values that the document rules out."""
    schema = parameter["schema"]
    if schema.get("type") == "array":
        choices = schema["items"].get("enum")
        return ["nonsense", f"{choices[0]},nonsense"] if choices else []
    values = ["nonsense"] if "enum" in schema or schema["type"] != "string" else []
    if values and schema.get("type") != "number":
        values.append("1.5")
    if "minimum" in schema:
        values.append(str(schema["minimum"] - 1))
    if "maximum" in schema:
        values += [str(schema["maximum"] + 1), "9" * 40]
    if "maxLength" in schema:
        values.append("x" * (schema["maxLength"] + 1))
    return values


CASES = [pytest.param(*case, id=f"{case[1]}-{case[2]['name']}") for case in documented()]


async def status(focal: Focal, method: str, path: str, query: dict[str, str]) -> int:
    """The status of the reply's head; streams and sockets are closed after it."""
    filled = path.replace("{task_id}", "x").replace("{date}", "2024-01-01").replace("{file}", "x")
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    headers |= {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    # An empty body is a form without its fields, which is a 422 of its own.
    takes_form = "multipart/form-data" in str(DOCUMENT["paths"][path][method].get("requestBody"))
    body = b"\xff" if takes_form else None
    async with focal.session.request(
        method, filled, params=query, data=body, headers=headers if path == "/ws" else {}
    ) as answer:
        answer.close()
        return answer.status


@pytest.mark.parametrize(("method", "path", "parameter", "required"), CASES)
async def test_every_documented_value_is_accepted(
    focal: Focal, method: str, path: str, parameter: dict[str, Any], required: dict[str, str]
) -> None:
    name = parameter["name"]
    for value in legal(parameter):
        query = {**required, name: value, **NEEDS.get((path, name, value), {})}
        answered = await status(focal, method, path, query)
        assert answered != 422, query
        is_documented = str(answered) in DOCUMENT["paths"][path][method]["responses"]
        assert answered < 500 or (answered in {501, 503} and is_documented), query


@pytest.mark.parametrize(("method", "path", "parameter", "required"), CASES)
async def test_every_value_that_the_document_rules_out_is_refused(
    focal: Focal, method: str, path: str, parameter: dict[str, Any], required: dict[str, str]
) -> None:
    for value in illegal(parameter):
        query = {**required, parameter["name"]: value}
        assert await status(focal, method, path, query) == 422, query


async def test_a_refusal_names_the_parameter_and_what_it_may_be(focal: Focal) -> None:
    wrong = {
        "query": ("everything", "Expected one of all, history, current, pending"),
        "page": ("-1", "Expected a whole number from 0 to 1000000000"),
        "start_at": ("then", "Expected a time such as 2024-07-03T12:22:30"),
    }
    for name, (value, message) in wrong.items():
        reply = await focal.get("/tasks", status=422, **{name: value})
        (fault,) = reply["detail"]
        assert (fault["loc"], fault["msg"]) == (["query", name], message)


async def test_what_is_empty_counts_as_left_out_where_it_may_be_left_out(focal: Focal) -> None:
    await focal.get("/tasks", page="", start_at="", end_at="")


async def test_of_a_parameter_given_twice_the_first_counts(focal: Focal) -> None:
    async with focal.session.get("/tasks?query=history&query=nonsense") as answer:
        assert answer.status == 200
