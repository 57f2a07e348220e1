"""The command line: ``warpguard serve | predict | defend | defenses | quilt-bank | models | …``.

Exit codes: 0, all is well; 1, something failed, said on standard error; 2, the command is wrong.
"""

import argparse
import re
import sys
from collections.abc import Sequence

from pydantic import ValidationError
from pydantic_settings import CliSettingsSource

from defenses import DefenseError
from models import ModelError
from service import __version__
from service.cli import commands
from service.cli.quilt_bank import quilt_bank
from service.errors import ServiceError, SetupError
from service.server.run import serve
from service.settings import Settings, flag

OK, FAILED, USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    parser, serve_settings = _parser()
    options = parser.parse_args(_as_kserve_writes(sys.argv[1:] if arguments is None else arguments))
    try:
        if options.command == "serve":
            settings = Settings(_cli_settings_source=serve_settings(parsed_args=options))
            return serve(settings)
        code: int = options.run(options)
        return code
    except ValidationError as error:
        for problem in error.errors():
            where = flag(str(problem["loc"][0])) if problem["loc"] else "settings"
            message = problem["msg"].removeprefix("Value error, ")
            print(f"warpguard: {where}: {message}", file=sys.stderr)  # noqa: T201
        return USAGE
    except DefenseError as error:
        print(f"warpguard: {error}", file=sys.stderr)  # noqa: T201
        return USAGE
    except (ModelError, ServiceError, SetupError, OSError) as error:
        print(f"warpguard: {error}", file=sys.stderr)  # noqa: T201
        return FAILED
    except KeyboardInterrupt:
        return 130


def _parser() -> tuple[argparse.ArgumentParser, CliSettingsSource[Settings]]:
    parser = argparse.ArgumentParser(
        prog="warpguard",
        description="Image classification behind a randomized, non-differentiable defence.",
        epilog="'warpguard COMMAND --help' shows a command's options and an example.",
    )
    parser.add_argument("--version", action="version", version=f"warpguard {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(
        name: str,
        summary: str,
        example: str,
        within: "argparse._SubParsersAction[argparse.ArgumentParser]" = subparsers,
    ) -> argparse.ArgumentParser:
        return within.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    serving = command(
        "serve",
        "Serve protected predictions over HTTP.",
        "warpguard serve --port 8080 --defense fd+rdg --allow-defense fd+rand\n\n"
        "Each option is also an environment variable: --max-batch is WARPGUARD_MAX_BATCH.\n"
        "As KServe writes them, --model_name is --model-name, and --http_port is --port.",
    )
    serve_settings: CliSettingsSource[Settings] = CliSettingsSource(Settings, root_parser=serving)
    _tidy(serving)

    predict = command(
        "predict",
        "Classify image files behind the defence, without a server.",
        "warpguard predict cat.jpg dog.png --draws 8",
    )
    predict.add_argument("files", nargs="+", metavar="FILE")
    _model(predict)
    _defense(predict)
    predict.add_argument("--draws", type=int, default=1, help="draws to average (default: 1)")
    predict.add_argument("--top-k", type=int, default=5, help="classes to name (default: 5)")
    _json(predict)
    predict.set_defaults(run=commands.predict)

    defend = command(
        "defend",
        "Defend an image file and write the result as PNG.",
        "warpguard defend cat.jpg -o defended.png --defense fd+rand",
    )
    defend.add_argument("file", metavar="FILE")
    defend.add_argument("-o", "--output", required=True, metavar="OUT", help="PNG file to write")
    _defense(defend)
    defend.set_defaults(run=commands.defend)

    defenses = command("defenses", "List the defences.", "warpguard defenses --json")
    _json(defenses)
    defenses.set_defaults(run=commands.defenses)

    bank = command(
        "quilt-bank",
        "Make the bank of patches that the defence quilt needs, from clean images of your own.",
        "warpguard quilt-bank photos/ -o bank.npz",
    )
    bank.add_argument("sources", nargs="+", metavar="DIR_OR_FILE", help="images, folders of them")
    bank.add_argument("-o", "--output", required=True, metavar="FILE", help=".npz file to write")
    bank.add_argument("--patches", type=int, default=20_000, metavar="N", help="(default: 20000)")
    bank.add_argument("--patch", type=int, default=5, metavar="PX", help="side (default: 5)")
    bank.add_argument(
        "--side",
        type=int,
        default=299,
        metavar="PX",
        help="shrink larger images to this shorter side first (default: 299, as images are served)",
    )
    bank.add_argument("--quiet", action="store_true", help="show no progress bar")
    bank.set_defaults(run=quilt_bank)

    models = command("models", "The models and their store.", "warpguard models list")
    actions = models.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = command("list", "List the models.", "warpguard models list --json", actions)
    _json(listing)
    listing.set_defaults(run=commands.models_list)
    show = command(
        "show", "Show a model's manifest.", "warpguard models show inception-v3", actions
    )
    show.add_argument("name", metavar="NAME")
    show.set_defaults(run=commands.models_show)
    pull = command(
        "pull",
        "Fetch a model's weights from the Hugging Face hub, or take them from a file.",
        "warpguard models pull inception-v3\n"
        "  warpguard models pull inception-v3 --weights model.safetensors",
        actions,
    )
    pull.add_argument("name", metavar="NAME")
    pull.add_argument("--weights", metavar="FILE", help="a .safetensors or .pth file, no download")
    pull.add_argument("--revision", default="main", help="of the hub's repository (default: main)")
    pull.add_argument("--force", action="store_true", help="pull again, and take other weights")
    pull.add_argument("--quiet", action="store_true", help="show no progress bar")
    pull.set_defaults(run=commands.models_pull)
    add = command(
        "add",
        "Add an ONNX image classifier of your own.",
        "warpguard models add mine --onnx mine.onnx --manifest mine.json",
        actions,
    )
    add.add_argument("name", metavar="NAME")
    add.add_argument("--onnx", required=True, metavar="FILE", help="the graph")
    add.add_argument("--manifest", required=True, metavar="FILE", help="its manifest, JSON")
    add.set_defaults(run=commands.models_add)
    remove = command(
        "remove", "Take a model out of the store.", "warpguard models remove mine", actions
    )
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(run=commands.models_remove)
    keys = command("keys", "The API keys of a server.", "warpguard keys new shop")
    key_actions = keys.add_subparsers(dest="action", required=True, metavar="ACTION")
    new = command(
        "new",
        "Make an API key: it is shown once, and its line for the file of --api-keys.",
        "warpguard keys new shop --file keys.txt --rate 20 --burst 100",
        key_actions,
    )
    new.add_argument("name", metavar="NAME", help="what to call it")
    new.add_argument(
        "--file", metavar="FILE", help="add the line to this file, and show only the key"
    )
    new.add_argument("--rate", metavar="N", help="images a second, each draw counting as one")
    new.add_argument("--burst", metavar="N", help="images at once (default: as the rate)")
    new.set_defaults(run=commands.keys_new)
    for with_store in (listing, show, pull, add, remove, predict):
        with_store.add_argument("--store", metavar="DIR", help="the model store's folder")

    version = command("version", "Show the version.", "warpguard version")
    version.set_defaults(run=commands.version)
    return parser, serve_settings


def _as_kserve_writes(arguments: Sequence[str]) -> list[str]:
    """The arguments, where flags may have underscores; KServe's name of the port is known too."""
    named = [
        re.sub(r"^--[^=]*", lambda flag: flag[0].replace("_", "-"), each) for each in arguments
    ]
    return [re.sub(r"^--http-port(?==|$)", "--port", each) for each in named]


def _model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="auto", help="a name of 'warpguard models list'")


def _defense(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--defense", default="fd+rdg", help="for example fd(step=20)+rdg, or none")


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _tidy(serving: argparse.ArgumentParser) -> None:
    """Say in the help what a value is, rather than how Python names its type and its default."""
    for action in serving._actions:
        kind = re.sub(r"^\{(\w+),null\}$", r"\1", str(action.metavar))
        if kind == "int":
            action.metavar = "N"
        elif "Path" in kind:
            action.metavar = "DIR" if action.dest.endswith("store") else "FILE"
        elif action.metavar and not kind.startswith("{"):
            action.metavar = action.dest.rpartition("_")[2].upper()
        if action.help:
            action.help = re.sub(r" \(default(: null|: \(\)| factory: \w+)\)", "", action.help)
