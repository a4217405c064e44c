"""What clients are told of model files that cannot be read."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import InvalidModelFile
from pipeline.weights.pickled import read_pickled
from pipeline.weights.tensors import read_config, read_tensors


@pytest.mark.parametrize("read", [read_tensors, read_pickled, read_config])
@pytest.mark.parametrize("name", ["a-folder", "absent"])
def test_a_file_that_cannot_be_read_is_named_without_this_machines_paths(
    tmp_path: Path, read: Callable[[Path], object], name: str
) -> None:
    path = tmp_path / "models" / "checkpoints" / name
    (path.parent / "a-folder").mkdir(parents=True)
    with pytest.raises(InvalidModelFile, match=name) as told:
        read(path)
    assert str(tmp_path) not in str(told.value)
