"""Writes the tables of ``docs/`` that are made from code: ``python -m tools.write_docs``."""

from pathlib import Path

from settings import options_table

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- options: begin -->", "<!-- options: end -->"


def replace_between(text: str, begin: str, end: str, content: str) -> str:
    """``text`` with what stands between the markers replaced. Raises ValueError without them."""
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"the markers {begin} and {end} are missing")
    return f"{before}{begin}\n{content}\n{end}{after}"


def main() -> None:
    """Rewrite the options table of docs/configuration.md."""
    path = DOCS / "configuration.md"
    text = path.read_text(encoding="utf-8")
    path.write_text(replace_between(text, BEGIN, END, options_table()), encoding="utf-8")


if __name__ == "__main__":
    main()
