"""A request's parameters as their row has them: JSON that goes out as it came in."""

from collections.abc import Iterator, Mapping

import msgspec


class StoredParams(Mapping[str, object]):
    """Parameters of a stored request, decoded when they are first looked into.

    A reply needs their text alone, which ``as_json`` puts there: of a page of ten records,
    decoding and encoding the parameters took two thirds of the time.
    """

    __slots__ = ("_text", "_values")

    def __init__(self, text: str) -> None:
        """``text`` is what ``stored_params`` has checked."""
        self._text = text
        self._values: dict[str, object] | None = None

    @property
    def text(self) -> str:
        """The JSON object."""
        return self._text

    @property
    def values_by_name(self) -> dict[str, object]:
        """The decoded fields; {} where a number is beyond the range of float."""
        if self._values is None:
            try:
                self._values = msgspec.json.decode(self._text, type=dict[str, object])
            except msgspec.DecodeError:
                self._values = {}
        return self._values

    def __getitem__(self, name: str) -> object:
        return self.values_by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)

    def __repr__(self) -> str:
        return f"StoredParams({self._text!r})"


def stored_params(cell: str | None) -> Mapping[str, object]:
    """The parameters in a cell; none of a damaged one, which must not hide the rest of a row."""
    try:
        msgspec.json.decode(cell or "{}", type=msgspec.Raw)  # a look at the form alone
    except msgspec.DecodeError:
        return {}
    return StoredParams(cell) if cell and cell.lstrip().startswith("{") else {}


def as_json(value: object) -> object:
    """``enc_hook`` of msgspec's encoders. Raises NotImplementedError for other types."""
    if isinstance(value, StoredParams):
        return msgspec.Raw(value.text)
    raise NotImplementedError(f"{type(value).__name__} has no form in JSON")
