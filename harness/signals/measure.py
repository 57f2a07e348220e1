"""From kinds of traffic to what the signals count: a server, its keys, and files of results."""

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.endpoint import HttpTarget
from harness.errors import OptionsError, RunError
from harness.files import locked, write
from harness.results import DatasetRecord
from harness.runs.experiment import Experiment
from harness.runs.plan import differences, versions
from harness.server import Server
from harness.signals.client import Client
from harness.signals.kinds import KINDS
from harness.signals.meter import Meter
from harness.signals.outcome import SIGNALS, KindRecord, Measurement
from harness.signals.traffic import Scene, Traffic
from harness.types import OnProgress

LEAST_POSTS = 21
"""Fewer posts of one photograph cannot raise an event."""
_KEYS = 1000
_PATIENCE_MS = 600_000
"""The server's deadline. The machine may be busy with other work for hours."""


@dataclass(frozen=True)
class Served:
    """A server that is measured.

    Attributes:
        url: its address for clients.
        admin_url: the address of its metrics.
        keys: API keys that posted nothing within the last hour; each client takes one.
    """

    url: str
    admin_url: str
    keys: Sequence[str]


def measure(
    names: Sequence[str],
    folder: Path,
    on_progress: Callable[[str], OnProgress],
    *,
    data: Path | None = None,
    limit: int,
    posts: int,
    seed: int,
    model: str = "auto",
    device: str = "auto",
    served: Served | None = None,
) -> Measurement:
    """Send kinds of traffic to a server with signals, and write what these count.

    Args:
        names: keys of :data:`KINDS`.
        folder: for a file of each kind, which the same call does not measure again, and for all.
        on_progress: returns the progress bar of a kind, given its name.
        data: a folder with a ``labels.csv``; by default the photographs of the demonstration.
        limit: how many photographs are attacked with gradients.
        posts: how many different images a search posts for one photograph, roughly.
        seed: of the traffic.
        model: its name in the store, for a server of our own.
        device: of the gradients.
        served: a server that runs already; by default one is started.

    Raises:
        HarnessError: see :mod:`harness.errors`. Kinds that were measured are kept.
    """
    if posts < LEAST_POSTS:
        raise OptionsError(f"--posts must be {LEAST_POSTS} or more, not {posts}.")
    with locked(folder), ExitStack() as stack:
        server = served or stack.enter_context(_started(folder, model))
        keys = iter(server.keys)
        target = stack.enter_context(_connected(server, next(keys, None)))
        kinds = [KINDS[name] for name in names]
        experiment = Experiment.open(
            target,
            data=data,
            device=device,
            needs_gradients=any(kind.needs_gradients for kind in kinds),
        )
        assert experiment.surrogate is not None  # noqa: S101  # of a warpguard there always is one
        scene = Scene(
            photographs=experiment.dataset.photographs,
            others=experiment.cases(targeted=True),
            limit=limit,
            posts=posts,
            copy=experiment.surrogate,
            seed=seed,
            open=_no_client,
        )
        whole = Measurement(
            model=target.description.model,
            model_sha256=target.description.model_sha256,
            defense=target.description.defense,
            dataset=DatasetRecord(
                name=experiment.dataset.name,
                candidates=len(scene.photographs),
                selected=len(scene.cases),
            ),
            limit=limit,
            posts=posts,
            seed=seed,
            versions=versions(),
            kinds=(),
        )
        plan = whole.model_dump(mode="json", exclude={"kinds"})
        plan["photographs"] = experiment.dataset.sha256
        meter = Meter(server.admin_url)
        stack.callback(meter.close)
        done = []
        for kind in kinds:
            file = folder / "kinds" / f"{kind.name}.json"
            record = _kept(file, plan)
            if record is None:
                record = _measured(kind, scene, server, keys, meter, on_progress(kind.name))
                target.confirm()
                content = {"plan": plan, "kind": record.model_dump(mode="json")}
                write(file, json.dumps(content).encode())
            done.append(record)
        whole = whole.model_copy(update={"kinds": tuple(done)})
        whole.write(folder)
    return whole


def _no_client() -> Client:
    raise AssertionError("a scene without clients")


@contextmanager
def _started(folder: Path, model: str) -> Iterator[Served]:
    """Start a server with all signals, which look at all images."""
    keys = [secrets.token_urlsafe(32) for _ in range(_KEYS)]
    lines = [f"k{i} {hashlib.sha256(key.encode()).hexdigest()}\n" for i, key in enumerate(keys)]
    key_file = folder / "keys.txt"
    write(key_file, "".join(lines).encode())
    options = ["--model", model, "--api-keys", str(key_file), "--alarm", ",".join(SIGNALS)]
    options += ["--squeeze-share", "1", "--events-file", str(folder / "events.jsonl")]
    options += ["--log-level", "error", "--log-format", "text"]
    options += ["--deadline-ms", str(_PATIENCE_MS)]
    with Server(*options, log=folder / "server.log", has_admin_port=True) as server:
        yield Served(server.url, server.admin_url, keys)


@contextmanager
def _connected(server: Served, key: str | None) -> Iterator[HttpTarget]:
    if key is None:
        raise OptionsError(
            "The keys are used up: each client of a kind of traffic takes one. Name a file with "
            "more of them, or measure fewer kinds with --traffic."
        )
    with HttpTarget(server.url, api_key=key) as target:
        yield target


def _kept(file: Path, plan: dict[str, Any]) -> KindRecord | None:
    """Return what was measured before with the same options."""
    try:
        kept = json.loads(file.read_bytes())
        differs = differences(kept["plan"], plan)
        record = KindRecord.model_validate(kept["kind"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, ValidationError) as error:
        raise RunError(f"{file} cannot be read: {error}. Delete it to measure again.") from None
    if differs:
        raise RunError(
            f"{file} was measured otherwise: {differs}. Repeat the command with the same options, "
            "or name another folder with --out."
        )
    return record


def _measured(
    kind: Traffic,
    scene: Scene,
    server: Served,
    keys: Iterator[str],
    meter: Meter,
    on_progress: OnProgress,
) -> KindRecord:
    """Send one kind of traffic, with clients that posted nothing before."""
    clients: list[Client] = []
    total, posted = kind.posts(scene), 0

    def on_post() -> None:
        nonlocal posted
        posted += 1
        on_progress("posts", posted, max(total, posted + 1))

    with ExitStack() as stack:

        def opened() -> Client:
            target = stack.enter_context(_connected(server, next(keys, None)))
            clients.append(Client(target, meter, on_post))
            return clients[-1]

        scene = replace(scene, open=opened, on_progress=on_progress)
        sent = kind.send(scene)
    on_progress("posts", posted, posted)
    records = tuple(client.record for client in clients)
    posts = sum(each.posts for each in records)
    wrong = 1 - sum(each.right for each in records) / posts if sent.wrong is None else sent.wrong
    return KindRecord(
        name=kind.name,
        summary=kind.summary,
        who=kind.who,
        attack=None if kind.attack is None else kind.specification(scene),
        clients=records,
        reached_bare=sent.reached_bare,
        wrong=wrong,
    )
