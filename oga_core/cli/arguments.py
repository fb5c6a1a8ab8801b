"""Arguments that several commands share: their types, and parsers to inherit from."""

from __future__ import annotations

import argparse
import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from oga_core.data import SOURCES
from oga_core.errors import InputError, shorten
from oga_core.runs import Workspace
from oga_core.terminal import write


class Parser(argparse.ArgumentParser):
    """Raises `InputError` for bad arguments, so that they are one line as all bad input."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")

    def _print_message(self, message: str, file: Any = None) -> None:
        if message:
            write(message, file, end="")


@dataclass(frozen=True)
class Shared:
    """Parsers of the arguments that several commands share.

    Attributes
    ----------
    limited
        Size limits.
    common
        These, and the workspace.
    data
        The data and their columns.
    networked
        Whether models may be downloaded.
    """

    limited: argparse.ArgumentParser
    common: argparse.ArgumentParser
    data: argparse.ArgumentParser
    networked: argparse.ArgumentParser


def make_shared() -> Shared:
    """Return the parsers to inherit from."""
    limited = Parser(add_help=False)
    limited.add_argument(
        "--limit",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        dest="limits",
        help="change how much is read of a file (see oga limits); may be repeated",
    )
    common = Parser(add_help=False, parents=[limited])
    common.add_argument(
        "--workspace", metavar="DIR", type=parse_path, help="folder of the runs (default: OGA_WORKSPACE, else your data folder)"
    )
    data = Parser(add_help=False)
    data.add_argument(
        "data", metavar="DATA", type=parse_path, help=f"folder of images, {', '.join(SOURCES)}, or torchvision:NAME:FOLDER"
    )
    data.add_argument(
        "--inputs", metavar="NAME", help="column of the text (two as 'a,b', prompt and answer as 'a>b'), or array of the samples"
    )
    data.add_argument("--label", metavar="NAME", help="column or array of the given labels")
    networked = Parser(add_help=False)
    networked.add_argument(
        "--allow-hub", action="store_true", help="weights may be named as on the Hugging Face hub and are downloaded from there"
    )
    return Shared(limited, common, data, networked)


def parse_seed(written: str) -> int:
    """A seed, as ``type`` of an argument."""
    if not written.isdecimal() or int(written) >= 1 << 32:
        raise argparse.ArgumentTypeError(f"{written!r} is not a whole number from 0 to 4294967295")
    return int(written)


def parse_port(written: str) -> int:
    """A port, as ``type`` of an argument."""
    if not (written.isascii() and written.isdecimal() and 0 < int(written[:6]) < 1 << 16):
        raise argparse.ArgumentTypeError(f"port {written[:20]}: a port is a number from 1 to 65535")
    return int(written)


def parse_path(written: str) -> str:
    """A path that a file can have; a name on the hub, or a torchvision set with its folder, is one too."""
    if not written:
        raise argparse.ArgumentTypeError("an empty path")
    try:
        os.lstat(os.path.expanduser(written))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{shorten(written)}: a path cannot hold a NUL character") from None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise argparse.ArgumentTypeError(f"{shorten(written)}: {error.strerror}") from None
    return written


def parse_file(written: str) -> Path:
    """The path of a file, as ``type`` of an argument."""
    return Path(parse_path(written))


def open_existing(options: argparse.Namespace) -> Workspace:
    """Return the workspace of a command that needs one; none is created where its name is mistyped."""
    return Workspace(options.workspace, create=False)
