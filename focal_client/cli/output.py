"""What a command shows: tables and a bar on a terminal, plain lines in a pipe.

Results go to standard output, progress and errors to standard error.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text


class Bar(Protocol):
    """Takes how far a task is, 0-100, and a word on it."""

    def __call__(self, percent: int, message: str) -> None: ...


class Output:
    """Standard output and standard error, each as a terminal or a pipe."""

    def __init__(self) -> None:
        self._out = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
        self._err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)

    def line(self, text: str) -> None:
        """A line of the result. As it is: rich would wrap it and make spaces of tabs."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def bytes(self, data: bytes) -> None:
        """The result itself."""
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def error(self, text: str) -> None:
        """Why the command did not do what it should."""
        sys.stderr.write(f"focal: {text}\n")

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table; in a pipe, a line a row with tabs between its cells, and no head."""
        if not self._out.is_terminal:
            for row in rows:
                self.line("\t".join(_one_line(cell) for cell in row))
            return
        table = Table(*heads, box=None, pad_edge=False, header_style="bold")
        for row in rows:
            table.add_row(*(Text(_one_line(cell)) for cell in row))
        self._out.print(table)

    @contextmanager
    def progress(self) -> Iterator[Bar]:
        """A bar on a terminal; in a pipe, a line for each new word."""
        if self._err.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TaskProgressColumn(),
                TimeElapsedColumn(),
            )
            with Progress(*columns, console=self._err, transient=True) as bars:
                bar = bars.add_task("Waiting ...", total=100)
                yield lambda percent, message: bars.update(
                    bar, completed=percent, description=message
                )
        else:
            yield _print_progress


def _print_progress(percent: int, message: str) -> None:
    sys.stderr.write(f"{percent:3}% {message}\n")
    sys.stderr.flush()


def _one_line(text: str) -> str:
    """Prompts have several lines and may hold what moves a terminal's cursor."""
    return "".join(c if c.isprintable() else " " for c in text)
