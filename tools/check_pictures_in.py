"""Measure vary, upscale, inpaint, outpaint, enhance, image prompts, controls: embedded model.

``python -m tools.check_pictures_in [CHECK…] [--count 50] [--url URL] [--sheets docs/pictures-in]``
starts a server of its own unless told of one, prints a figure a line, and writes a contact sheet a
check where asked to.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.embedded.sheet import write_sheet
from tools.pictures_in.checks import CHECKS
from tools.pictures_in.client import Client
from tools.server_process import running_server

COLUMNS = {"inpaint": 8, "outpaint": 8, "vary": 8, "upscale": 8, "enhance": 8, "image_prompt": 10}


@contextmanager
def server_url(url: str | None) -> Iterator[str]:
    """That server, or one started for the length of the block."""
    if url is not None:
        yield url
    else:
        with running_server(["--preset", "embedded"]) as server:
            yield server.url


def main() -> None:
    """Run the checks that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checks", nargs="*", choices=[*CHECKS, []], help="all if left out")
    parser.add_argument("--count", type=int, default=50, help="subjects a check")
    parser.add_argument("--url", help="a server that runs already")
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets")
    asked = parser.parse_args()
    with server_url(asked.url) as url:
        for name in asked.checks or CHECKS:
            result = CHECKS[name](Client(url), asked.count)
            for what, figure in result.figures.items():
                print(f"{name:14} {what:34} {figure:8.3f}", flush=True)
            if asked.sheets:
                images, texts = zip(*result.shown, strict=True)
                path = asked.sheets / f"{name}.png"
                write_sheet(images, texts, path, COLUMNS.get(name, 9))


if __name__ == "__main__":
    main()
