"""Parameters of stored requests: they go out as they came in."""

import msgspec
import pytest

from storage.records import TaskRecord, encode_record
from storage.stored_params import StoredParams, as_json, stored_params


def record(cell: str) -> TaskRecord:
    return TaskRecord(
        id=1,
        task_id="a",
        req_params=stored_params(cell),
        in_queue_mills=None,
        start_mills=None,
        finish_mills=None,
        task_status="finished",
        progress=100,
        webhook_url="",
        result=[],
    )


def test_a_reply_holds_the_text_of_the_row_and_readers_its_values() -> None:
    cell = '{"prompt":"a \\"cat\\"", "image_seed": 7, "unknown": [1.50]}'
    params = stored_params(cell)
    assert cell.encode() in encode_record(record(cell))
    assert params == {"prompt": 'a "cat"', "image_seed": 7, "unknown": [1.5]}
    assert params.get("image_seed") == 7
    assert "seed" not in params


@pytest.mark.parametrize("cell", [None, "", "{", "[1]", '"{"', "null", '{"a": 1} 2', '{"a": nan}'])
def test_a_damaged_cell_holds_no_parameters(cell: str | None) -> None:
    assert stored_params(cell) == {}


def test_a_number_beyond_float_leaves_the_rest_of_the_record_readable() -> None:
    cell = '{"image_seed": 1e999}'
    assert dict(stored_params(cell)) == {}
    assert cell.encode() in encode_record(record(cell))


@pytest.mark.parametrize(
    ("cell", "asks"),
    [
        ('{"require_base64":true}', True),
        ('{"require_base64" : true, "prompt": ""}', True),
        ('{"require_base64":false}', False),
        ('{"prompt":"\\"require_base64\\":true"}', False),
        ('{"controlnet_image":[{"require_base64":true}]}', False),
        ("{}", False),
    ],
)
def test_a_record_tells_whether_data_urls_were_asked_for(cell: str, asks: bool) -> None:
    assert record(cell).wants_base64 is asks


def test_other_types_are_refused_as_msgspec_would() -> None:
    with pytest.raises(NotImplementedError):
        msgspec.json.encode({"a": object()}, enc_hook=as_json)
    assert isinstance(stored_params('{"a": 1}'), StoredParams)
