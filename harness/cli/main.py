"""The command line: ``warpguard-harness quick | run | report | reproduce | signals | attacks``.

The exit code is 0 if the command did its work, 1 if something failed (a line on standard error
says what), and 2 if the command is wrong. The success of an attack does not change it.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

from harness.cli import values
from harness.errors import HarnessError
from harness.plain import plain

API_KEY = "WARPGUARD_API_KEY"
REPRODUCED = (*(f"table{number}" for number in range(1, 10)), "fig3")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that has no ✓ gets a question mark, rather than an error after the attack.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        options = parser().parse_args(arguments)
        # PyTorch takes seconds to import, so --help and wrong commands do not import it.
        from harness.cli import commands

        code: int = getattr(commands, options.command)(options)
        return code
    except HarnessError as error:
        print(f"warpguard-harness: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except OSError as error:
        print(f"warpguard-harness: {plain(str(error))}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        print("\nwarpguard-harness: stopped; repeat the command to resume.", file=sys.stderr)  # noqa: T201
        return 130


def parser() -> argparse.ArgumentParser:
    """Return the parser of the commands and their options."""
    whole = argparse.ArgumentParser(
        prog="warpguard-harness",
        description="Attack a running endpoint, and report how robust it is.",
        epilog="'warpguard-harness COMMAND --help' shows a command's options and an example.",
    )
    whole.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
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
        "Run six attacks in a few minutes, from random noise to the exact attacker.",
        "warpguard-harness quick --endpoint http://127.0.0.1:8080",
    )
    _add_endpoint(quick)
    add = quick.add_argument
    add("--out", type=Path, default=Path("runs/quick"), help="folder (default: %(default)s)")
    add("--limit", type=values.positive, default=10, help="number of photographs (default: 10)")

    run = command(
        "run",
        "Run one attack. The same command resumes a run that was interrupted.",
        "warpguard-harness run 'adaptive(rounds=50,draws=10)' --data nips2017 --limit 50 \\\n"
        "    --endpoint http://127.0.0.1:8080 --out runs/adaptive",
    )
    add = run.add_argument
    add("attack", help="such as 'square(queries=2000)'; 'warpguard-harness attacks' lists all")
    _add_endpoint(run)
    add("--out", type=Path, required=True, help="folder of the run")
    add("--limit", type=values.positive, help="number of photographs (default: all)")
    add("--seed", type=int, default=0, help="seed of the attacker (default: 0)")
    add(
        "--scoring-draws",
        type=values.positive,
        default=10,
        help="posts per scored image (default: 10)",
    )
    add(
        "--score-rounds",
        type=values.rounds,
        help="rounds to score, such as 1,5,20; the last round of the attack is always scored "
        "(default: some of each magnitude)",
    )
    add("--images-at-once", type=values.positive, default=8, help="images in a batch (default: 8)")
    add(
        "--sanity-images",
        type=values.whole,
        default=5,
        help="photographs that the checks attack again; 0 skips these checks (default: 5)",
    )
    add("--unquantized", action="store_true", help="post FP32 tensors, not 8-bit images")
    add(
        "--source-model",
        metavar="MODEL",
        help="take gradients from this model instead, such as efficientnet-lite0 (transfer "
        "attack); not for gradient-free attacks",
    )

    report = command(
        "report",
        "Write a page of finished runs, and optionally tables and plots.",
        "warpguard-harness report runs/* -o report.html --markdown report.md --plots plots",
    )
    add = report.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN", help="run folder, folder of them, or run.json")
    add("-o", "--out", type=Path, default=Path("report.html"), help="page (default: %(default)s)")
    add(
        "--evidence",
        type=Path,
        metavar="DIR",
        help="also write a dossier for auditors: dossier.html and dossier.json",
    )
    add("--markdown", type=Path, metavar="FILE", help="also write Markdown tables")
    add(
        "--plots",
        type=Path,
        metavar="DIR",
        help="also write plots (PNG, SVG, PDF) and a CSV",
    )

    reproduce = command(
        "reproduce",
        "Reproduce the paper's tables and its Fig. 3, on a server that the command starts.",
        "warpguard-harness reproduce table7 fig3 --scale cpu --data nips2017",
    )
    add = reproduce.add_argument
    items = ", ".join(REPRODUCED)
    add("items", nargs="+", choices=(*REPRODUCED, "all"), metavar="ITEM", help=f"{items}, or all")
    add(
        "--scale",
        choices=("smoke", "cpu", "paper"),
        default="cpu",
        help="minutes, hours, or the paper's own numbers, on a GPU (default: cpu)",
    )
    add("--out", type=Path, default=Path("runs/reproduce"), help="default: %(default)s/SCALE")
    add("--model", default="auto", help="model in the store (default: auto)")
    _add_photographs(reproduce)

    signals = command(
        "signals",
        "Measure what the signals see of ordinary traffic, of attacks, and of attackers who know "
        "them, on a server that the command starts.",
        "warpguard-harness signals --data nips2017 --limit 16 --out runs/signals",
    )
    add = signals.add_argument
    add("--out", type=Path, default=Path("runs/signals"), help="folder (default: %(default)s)")
    add(
        "--traffic",
        metavar="NAMES",
        help="kinds of traffic, with commas, such as once,square,corners (default: all)",
    )
    add(
        "--limit",
        type=values.positive,
        default=4,
        help="photographs that are attacked with gradients; the first two of them are also "
        "searched (default: %(default)s)",
    )
    add(
        "--posts",
        type=values.positive,
        default=60,
        help="different images that a search posts for one photograph, roughly "
        "(default: %(default)s)",
    )
    add("--seed", type=int, default=0, help="seed of the traffic (default: 0)")
    add("--model", default="auto", help="model in the store (default: auto)")
    add("--endpoint", metavar="URL", help="a running warpguard with signals and keys instead")
    add("--admin", metavar="URL", help="with --endpoint: the address of its metrics")
    add(
        "--api-key-file",
        type=Path,
        metavar="FILE",
        help="with --endpoint: API keys that posted nothing within the last hour, one a line",
    )
    _add_photographs(signals)

    command("attacks", "List the attacks and their parameters.", "warpguard-harness attacks")
    return whole


def _add_endpoint(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--endpoint",
        required=True,
        metavar="URL",
        help="address of a running warpguard service, or with --protocol oip of a model, such as "
        "http://127.0.0.1:8000/v2/models/mine",
    )
    add("--defense", help="a defence that the endpoint allows, such as rdg (default: its default)")
    add(
        "--protocol",
        choices=("v1", "v2", "oip"),
        default="v2",
        help="v1 posts PNG files to warpguard, v2 posts tensors to it, oip attacks any server of "
        "the Open Inference Protocol, such as Triton (default: v2)",
    )
    add(
        "--assume-defense",
        metavar="DEFENSE",
        help="with --protocol oip: the defence that you assume in front of the model, such as "
        "fd+rdg (default: none)",
    )
    add(
        "--manifest",
        type=Path,
        metavar="FILE",
        help="with --protocol oip: description of the model's input and output (docs/models.md)",
    )
    add(
        "--model",
        type=Path,
        metavar="FILE.onnx",
        help="with --protocol oip and --manifest: your own copy of the model, for gradients",
    )
    key = parser.add_mutually_exclusive_group()
    key.add_argument(
        "--api-key",
        default=os.environ.get(API_KEY),
        help=f"API key, if the endpoint requires one (default: ${API_KEY})",
    )
    key.add_argument(
        "--api-key-file",
        type=Path,
        metavar="FILE",
        help="file with the API key alone, which other users of this machine then do not "
        "see in the list of processes",
    )
    add(
        "--header",
        action="append",
        type=values.header,
        default=[],
        metavar="'NAME: VALUE'",
        help="further header of each request; may be repeated",
    )
    add(
        "--ca-file",
        type=Path,
        metavar="FILE",
        help="certificates (PEM) of the authorities that the endpoint's certificate is trusted by, "
        "in place of those of this machine",
    )
    _add_photographs(parser)


def _add_photographs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder with labels.csv (columns file, label, and optionally target) "
        "(default: twenty photographs)",
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="device for the gradients (default: auto)",
    )


class _Version(argparse.Action):
    """Prints the version. Reading it takes time that no other option needs."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"warpguard-harness {version('warpguard')}")  # noqa: T201
        parser.exit()
