"""`bitline`: finds the command, runs it, turns refusals into messages and exit codes. Imports nothing heavy itself."""

from __future__ import annotations

import atexit
import errno
import importlib
import os
import signal
import sys
from types import FrameType

import click

from bitline.cli.answer import report_bug, report_refusal
from bitline.cli.options import preprocess_words
from bitline.core.diagnostics import Refusal, refuse
from bitline.core.version import __version__

COMMANDS = {
    "check": "does a model fit, what runs where, what is unsupported: before any work",
    "compile": "a model into a package for a chip",
    "demo": "compile, verify and run a small trained network",
    "doctor": "what this machine lacks, and what to do about it",
    "explain": "where a layer lies, what binds its time, what would help",
    "place": "weight matrices onto arrays: a table of blocks",
    "quantize": "a float model into a QDQ model",
    "report": "the HTML report of a package",
    "run": "a package on data, in the simulator",
    "schedule": "when weights are loaded and what that costs",
    "targets": "chips that bitline knows",
    "verify": "every artefact of a package",
}
INTERRUPTED = 130
SURROUNDINGS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE)
"""What is wrong with the machine and not with us."""
ROOM = "make room, or set TMPDIR and NUMBA_CACHE_DIR to folders that have it; `bitline doctor` looks at them"
MEMORY = "give smaller inputs with --shape, or use a machine with more memory; `bitline doctor` shows what there is"


_interrupts: list[int] = []
"""Interrupts that came, so that an error which follows one is not taken for a bug."""


class _Lazy(click.Group):
    """Imports a command only when it is asked for, so that help is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"bitline.cli.{cmd_name}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bitline")
def cli() -> None:
    """Compile ONNX networks for compute-in-memory chips, and prove the programs right."""


def main() -> None:
    """Entry point. Exit codes: 0 ok, 1 check failed, 2 usage, 3 unsupported, 4 does not fit, 5 malformed, 70 bug, 130
    interrupted."""
    _interrupts.clear()  # of a command before this one, where one process runs several
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    arguments = sys.argv[1:]
    try:
        arguments = preprocess_words(arguments)
        status = cli.main(args=arguments, standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except (click.exceptions.Abort, KeyboardInterrupt):
        sys.exit(_interrupted())
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        report_refusal_of_click(error, arguments)
        sys.exit(2)
    except Refusal as refusal:
        report_refusal(refusal, json="--json" in arguments)
        sys.exit(refusal.exit_code)
    except OSError as error:
        if error.errno not in SURROUNDINGS:
            sys.exit(report_bug(error, arguments))
        refusal = refuse("BL0104", f"the system says: {error.strerror}", place=str(error.filename or ""), help=ROOM)
        report_refusal(refusal, json="--json" in arguments)
        sys.exit(refusal.exit_code)
    except MemoryError:
        refusal = refuse("BL0203", "there is not enough memory for this network", help=MEMORY)
        report_refusal(refusal, json="--json" in arguments)
        sys.exit(refusal.exit_code)
    except Exception as error:  # noqa: BLE001  # the last resort: a bug of ours must not look like the user's fault
        if _interrupts:  # a library that was being imported made another error of it
            sys.exit(_interrupted())
        sys.exit(report_bug(error, arguments))
    finally:
        atexit.unregister(_done)
        atexit.register(_done)  # last, so that it comes before what libraries do at the end


def _done() -> None:
    """An interrupt that comes when all is done has nothing to end but the clearing up of libraries."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _interrupts.append(number)
    signal.default_int_handler(number, frame)


def _interrupted() -> int:
    click.echo("interrupted; nothing half-made was left behind", err=True)
    if _interrupts:  # a library interrupted in the middle of its own start may crash when it is taken down
        sys.stdout.flush()
        os._exit(INTERRUPTED)
    return INTERRUPTED


def report_refusal_of_click(error: click.ClickException, arguments: list[str]) -> None:
    """click's own complaints, in our form."""
    words = ["bitline", *(a for a in arguments[:1] if a in COMMANDS), "--help"]
    message = " ".join(error.format_message().split())
    refusal = refuse("BL0101", message, help=f"see `{' '.join(words)}`")
    report_refusal(refusal, json="--json" in arguments)
