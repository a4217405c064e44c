"""Makes a picture with a generated client: ``python make_picture.py URL KEY FILE``.

Runs in the environment of the generator, beside the package that it has written.
"""

import sys
from io import BytesIO
from pathlib import Path

from generated import AuthenticatedClient
from generated.api.engine import generate, generate_image
from generated.api.pictures import output_file, store_input
from generated.models import (
    GenerateRequest,
    GenerateRequestPerformanceSelection,
    OutputFileAs,
    StoreInputBody,
    TaskRecord,
)
from generated.types import File


def main() -> None:
    url, key, path = sys.argv[1:]
    client = AuthenticatedClient(url, key, timeout=60.0, raise_on_unexpected_status=True)
    body = GenerateRequest(
        prompt="a red star on a blue background",
        image_seed=7,
        performance_selection=GenerateRequestPerformanceSelection.LIGHTNING,
    )
    assert set(body.to_dict()) == {"prompt", "image_seed", "performance_selection"}

    made = generate_image.sync(client=client, body=body)
    assert isinstance(made, File), made
    Path(path).write_bytes(made.payload.read())

    record = generate.sync(client=client, body=body)
    assert isinstance(record, TaskRecord), record
    assert record.task_status == "finished"
    date, file = record.result[0].split("/")[-2:]
    webp = output_file.sync(date, file, client=client, as_=OutputFileAs.WEBP)
    assert isinstance(webp, File)
    assert webp.payload.read()[8:12] == b"WEBP"

    form = StoreInputBody(image=File(BytesIO(Path(path).read_bytes()), file_name="star.png"))
    stored = store_input.sync(client=client, body=form)
    assert stored.width == 256


if __name__ == "__main__":
    main()
