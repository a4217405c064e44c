"""``focal generate|queue|history|models|watch``: the parser, and errors as exit codes.

0: done. 1: the server refused, or the task failed. 2: the command is wrong. 3: no server answers.
130: interrupted; the task that was being made is stopped.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

from focal_client.cli import generate, listing, watch
from focal_client.cli.output import Output
from focal_client.client import Client
from focal_client.errors import ConnectionFailed, FocalError
from focal_client.transport import DEFAULT_URL

FAILED: Final = 1
NO_SERVER: Final = 3
INTERRUPTED: Final = 130
Command = Callable[[Client, argparse.Namespace, Output], int]


def make_parser() -> argparse.ArgumentParser:
    """The parser; each command's function is in ``run``."""
    parser = argparse.ArgumentParser(prog="focal", description="Pictures from a Focal server.")
    url = os.environ.get("FOCAL_URL", DEFAULT_URL)
    parser.add_argument("--url", default=url, help="the server (FOCAL_URL; %(default)s)")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds for an answer")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    generate.add_parser(commands)
    listing.add_parsers(commands)
    watch.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the process's exit code."""
    options = make_parser().parse_args(arguments)
    output = Output()
    run: Command = options.run
    try:
        # No option: a key on a command line is seen by every user of the machine.
        key = os.environ.get("FOCAL_API_KEY")
        with Client(options.url, key=key, timeout=options.timeout) as client:
            return run(client, options, output)
    except ConnectionFailed as error:
        output.error(f"no answer: {error}")
        return NO_SERVER
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (FocalError, OSError) as error:
        output.error(str(error))
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
