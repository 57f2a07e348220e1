"""The command with its own server: two short items, and in the slow tier every item."""

import json
import shutil
from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from harness.cli.main import main
from harness.dataset import Dataset
from harness.reproduce import ITEMS, SCALES, Reproduction, published
from harness.reproduce.standard import table
from models import Classifier, GraphInput, Manifest, Scaling, Store, fit, to_tensor

SHORT = {
    "table3": replace(
        ITEMS["table3"],
        measure=partial(
            table, paper=published.TABLE_3, rows=("i-fgsm 0.03",), l2=published.TABLE_3_L2
        ),
    ),
    "table4": replace(
        ITEMS["table4"],
        defenses={name: ITEMS["table4"].defenses[name] for name in ("fd+rdg", "quilt")},
    ),
}
"""One attack of Table III, and two defences of Table IV."""

COLUMNS = {"table5": 2, "table6": 2, "table9": 2}
"""How many columns of a table are enough, where they are one defence with other values."""


def reproduce(out, *names):
    """Run the command, and return the results by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.reproduce.work.ITEMS", ITEMS | SHORT)
        assert main(["reproduce", *names, "--scale", "smoke", "--out", str(out)]) == 0
    return {name: read(out / "smoke" / f"{name}.json") for name in names}


def read(file):
    return Reproduction.model_validate_json(file.read_bytes())


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("reproduce")


@pytest.fixture(scope="module")
def results(out):
    return reproduce(out, "table3", "table4")


def test_attacks_round_by_round_have_fewer_photographs(results):
    smoke = SCALES["smoke"]
    assert results["table3"].dataset.selected == smoke.photographs
    assert results["table4"].dataset.selected == smoke.attacked


def test_an_attack_on_the_bare_model_runs_once_and_is_posted_to_every_defence(results):
    runs = results["table3"].runs
    assert [run.endpoint.defense for run in runs] == [*ITEMS["table3"].defenses.values()]
    for images in zip(*(run.images for run in runs), strict=True):
        assert len({image.file for image in images}) == 1
        assert len({round(image.scores[-1].l2_rms, 6) for image in images}) == 1
    spent = [sum(image.seconds for image in run.images) for run in runs]
    assert spent[0] > 10 * max(spent[1:])


def test_the_runs_are_kept_with_all_that_is_needed_to_repeat_them(out, results):
    run = json.loads(next(out.glob("smoke/runs/adaptive*/fd+rdg/run.json")).read_text())
    assert run["endpoint"]["quantized"] is False
    assert run["attack"]["parameters"]["knowledge"] == "exact"


def test_the_bank_is_made_of_photographs_that_are_not_attacked(out, results):
    (bank,) = out.glob("smoke/quilt-bank-*.npz")
    assert f"quilt(bank={bank})" in {run.endpoint.defense for run in results["table4"].runs}
    # The first fifteen of the twenty may be attacked, and the bank has the last five.
    names = {image.file for run in results["table4"].runs for image in run.images}
    assert all(int(name.split("_")[1]) < 15 for name in names)


def test_a_finished_run_is_not_repeated(out, results):
    before = results["table3"]
    after = reproduce(out, "table3")["table3"]
    assert after.created >= before.created
    assert [run.images for run in after.runs] == [run.images for run in before.runs]
    assert after.figures == before.figures


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small model in the store, and photographs whose labels are its own answers.

    Its only convolution takes a hundredth of the embedded model's time, and its images are small
    because SciPy's L-BFGS takes seconds to set the bounds of 299 x 299 px.

    Returns:
        The model's name, and the folder of the photographs.
    """
    generator = np.random.default_rng(0)
    side_px, classes = 128, 10
    nodes = [
        helper.make_node("Conv", ["input", "kernels"], ["edges"], strides=[8, 8]),
        helper.make_node("Relu", ["edges"], ["found"]),
        helper.make_node("GlobalAveragePool", ["found"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    weights = {"kernels": (16, 3, 8, 8), "weights": (16, classes)}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, side_px, side_px])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", classes])],
        [
            numpy_helper.from_array(generator.normal(0, 0.3, shape).astype(np.float32), name)
            for name, shape in weights.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    manifest = Manifest(
        name="small",
        input=GraphInput(height_px=side_px, width_px=side_px),
        scaling=Scaling(mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5)),
        labels=tuple(map(str, range(classes))),
    )
    manifest = Store().put(manifest, model.SerializeToString())
    classifier = Classifier(manifest, model.SerializeToString(), device="cpu", threads=1)

    data = tmp_path_factory.mktemp("photographs")
    lines = ["file,label,target"]
    for photograph in Dataset.demo().photographs:
        name = photograph.path.name
        shutil.copy(photograph.path, data / name)
        pixels = fit(np.asarray(Image.open(photograph.path).convert("RGB")), manifest)
        label = int(classifier.run(to_tensor(pixels, manifest)[None])[0].argmax())
        lines.append(f"{name},{label},{(label + 1) % classes}")
    (data / "labels.csv").write_text("\n".join(lines))
    return manifest.name, data


@pytest.mark.slow
@pytest.mark.parametrize("name", ITEMS)
def test_every_item_is_reproduced(tmp_path_factory, monkeypatch, small, name):
    model, data = small
    columns = dict(islice(ITEMS[name].defenses.items(), COLUMNS.get(name)))
    item = replace(ITEMS[name], defenses=columns)
    monkeypatch.setattr("harness.reproduce.work.ITEMS", ITEMS | {name: item})
    # All items share a folder, so that later items reuse the runs of earlier ones.
    out = tmp_path_factory.getbasetemp() / "every-item"
    command = ["reproduce", name, "--scale", "smoke", "--out", str(out)]
    assert main([*command, "--model", model, "--data", str(data)]) == 0
    done = read(out / "smoke" / f"{name}.json")
    assert done.model == model
    assert len(done.figures) >= len(columns)
    assert done.dataset.selected <= SCALES["smoke"].photographs


def test_a_folder_that_a_specification_cannot_name_is_refused_before_the_work(tmp_path, capsys):
    out = tmp_path / "my runs"
    assert main(["reproduce", "table4", "--scale", "smoke", "--out", str(out)]) == 1
    assert "Choose another --out." in capsys.readouterr().err
    assert not out.exists()


def test_a_folder_that_cannot_be_written_is_reported(capsys):
    assert main(["reproduce", "table8", "--scale", "smoke", "--out", "/proc/none"]) == 1
    assert "/proc/none" in capsys.readouterr().err


def test_an_unknown_item_is_refused_with_a_list_of_the_items(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["reproduce", "table10"])
    assert exit_.value.code == 2
    assert "table9" in capsys.readouterr().err
