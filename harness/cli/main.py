"""The command line: ``warpguard-harness quick | run | report | reproduce | attacks``.

Exit codes: 0, done; 1, something failed, said on standard error; 2, the command is wrong. What an
attack achieves changes no exit code.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from harness.errors import HarnessError

OK, FAILED, USAGE = 0, 1, 2
API_KEY = "WARPGUARD_API_KEY"
REPRODUCED = (*(f"table{number}" for number in range(1, 10)), "fig3")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    options = parser().parse_args(arguments)
    # PyTorch takes seconds to import; --help and wrong commands do not wait for it.
    from harness.cli import commands

    try:
        code: int = getattr(commands, options.command)(options)
        return code
    except (HarnessError, OSError) as error:  # the latter: a folder that cannot be written
        print(f"warpguard-harness: {error}", file=sys.stderr)  # noqa: T201
        return FAILED
    except KeyboardInterrupt:
        print("\nwarpguard-harness: stopped; the same command goes on from here.", file=sys.stderr)  # noqa: T201
        return 130


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    whole = argparse.ArgumentParser(
        prog="warpguard-harness",
        description="Attack a running endpoint, and report how robust it really is.",
        epilog="'warpguard-harness COMMAND --help' shows a command's options and an example.",
    )
    whole.add_argument(
        "--version", action="version", version=f"warpguard-harness {version('warpguard')}"
    )
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, summary: str, example: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    quick = command(
        "quick",
        "Seven rows in a few minutes: from the clean photographs to the exact attacker.",
        "warpguard-harness quick --endpoint http://127.0.0.1:8080",
    )
    _add_endpoint(quick)
    quick.add_argument("--out", type=Path, default=Path("runs/quick"), help="default: %(default)s")
    quick.add_argument("--limit", type=_positive, default=10, help="photographs, default 10")

    run = command(
        "run",
        "Run one attack; the same command takes up where it was interrupted.",
        "warpguard-harness run 'adaptive(rounds=50,draws=10)' --data nips2017 --limit 50 \\\n"
        "    --endpoint http://127.0.0.1:8080 --out runs/adaptive",
    )
    run.add_argument(
        "attack", help="a name, maybe with parameters; see 'warpguard-harness attacks'"
    )
    _add_endpoint(run)
    run.add_argument("--out", type=Path, required=True, help="the run's folder")
    run.add_argument("--limit", type=_positive, help="photographs; default: all")
    run.add_argument("--seed", type=int, default=0, help="of the attacker, default 0")
    run.add_argument(
        "--scoring-draws", type=_positive, default=10, help="posts of each scored image, default 10"
    )
    run.add_argument(
        "--score-rounds",
        type=_rounds,
        help="such as 1,5,20, none beyond the attack's last, which is always scored; "
        "default: some of each magnitude",
    )
    run.add_argument(
        "--images-at-once", type=_positive, default=8, help="attacked together, default 8"
    )
    run.add_argument(
        "--sanity-images",
        type=int,
        default=5,
        help="photographs that the checks attack anew, default 5; 0 leaves these checks out",
    )
    run.add_argument(
        "--unquantized", action="store_true", help="post FP32 tensors, not rounded to 8 bits"
    )
    run.add_argument(
        "--source-model",
        metavar="MODEL",
        help="take gradients of another model: transfer; not of attacks that take none",
    )

    report = command(
        "report",
        "Make a page of runs, and tables and plots.",
        "warpguard-harness report runs/* -o report.html --markdown report.md --plots plots",
    )
    report.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="folders, folders of such, or run.json files",
    )
    report.add_argument(
        "-o", "--out", type=Path, default=Path("report.html"), help="default: %(default)s"
    )
    report.add_argument("--markdown", type=Path, metavar="FILE", help="write tables, too")
    report.add_argument("--plots", type=Path, metavar="DIR", help="write plots as PNG, too")

    reproduce = command(
        "reproduce",
        "Do the paper's tables and its Fig. 3 again, on a server of its own.",
        "warpguard-harness reproduce table7 fig3 --scale cpu --data nips2017",
    )
    reproduce.add_argument(
        "items", nargs="+", choices=(*REPRODUCED, "all"), metavar="ITEM", help=", ".join(REPRODUCED)
    )
    reproduce.add_argument(
        "--scale",
        choices=("smoke", "cpu", "paper"),
        default="cpu",
        help="minutes, hours, or what the paper did (on a GPU); default: cpu",
    )
    reproduce.add_argument(
        "--out", type=Path, default=Path("runs/reproduce"), help="default: %(default)s/SCALE"
    )
    reproduce.add_argument("--model", default="auto", help="one of the store, default auto")
    _add_photographs(reproduce)

    command("attacks", "List the attacks and their parameters.", "warpguard-harness attacks")
    return whole


def _add_endpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--endpoint", required=True, metavar="URL", help="a running service")
    parser.add_argument("--defense", help="one that it allows; default: its own")
    parser.add_argument(
        "--protocol", choices=("v1", "v2"), default="v2", help="PNG files, or tensors (default)"
    )
    parser.add_argument(
        "--api-key",
        default=os.environ.get(API_KEY),
        help=f"where it wants one; default: the environment's {API_KEY}",
    )
    _add_photographs(parser)


def _add_photographs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="a folder with labels.csv (file,label,target); default: twenty photographs",
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="of the gradients"
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def _rounds(text: str) -> tuple[int, ...]:
    return tuple(_positive(each) for each in text.split(","))
