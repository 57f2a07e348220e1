"""Architectures of timm with random weights: added, served, and attacked with their gradients."""

import io
import json
import warnings
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch
from onnx import TensorProto
from PIL import Image

from harness.cli.main import main
from harness.surrogate.onnx_to_torch import OnnxModule
from harness.surrogate.operators import elementwise
from models import Classifier, GraphInput, Manifest, Scaling, Store, to_tensor
from models.custom import add

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ARCHITECTURES = (
    "resnet18",
    "mobilenetv3_small_100",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "densenet121",
    "efficientnet_b0",
    "inception_v3",
    "regnety_002",
    "repvit_m1",
    "edgenext_xx_small",
    "mobilevit_xxs",
    "resmlp_12_224",
)
CLASSES, SIDE_PX = 10, 224
PIXELS = np.random.default_rng(3).integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def timm():
    """The package, also beside a torchvision that was built for another build of PyTorch.

    timm imports torchvision, but these architectures use nothing of it. That build cannot load its
    library, which declares two operators that are missed when it is imported.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import torchvision  # noqa: F401
        except RuntimeError:
            library = torch.library.Library("torchvision", "DEF")
            for name in ("nms", "qnms"):
                library.define(f"{name}(Tensor dets, Tensor scores, float threshold) -> Tensor")
        import timm
    return timm


def exported(model):
    """Return the ONNX file of a model, with each layer as it is, so that gradients are equal.

    By default the exporter multiplies normalisations into convolutions, which rounds the weights.
    """
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is the older of two, and needs no package
        torch.onnx.export(
            model,
            (torch.zeros(2, 3, SIDE_PX, SIDE_PX),),
            file,
            dynamo=False,
            opset_version=17,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
        )
    return file.getvalue()


def gradients(model, graph, tensor):
    """Yield the gradient of a weighted sum of the logits by the model, and by its graph.

    It is computed in float64. In float32 gradients jump where rounding takes a value over a kink:
    PyTorch's own gradient of inception_v3 with random weights is off by up to 3 % there.
    """
    weights = torch.randn(CLASSES).double()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(elementwise.TYPES, TensorProto.FLOAT, torch.float64)
        for module in (model.double(), OnnxModule(graph).double()):
            given = tensor.double().requires_grad_()
            yield torch.autograd.grad((module(given) @ weights).sum(), given)[0]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_is_added_served_and_attacked(name, timm, serve, tmp_path, monkeypatch):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = timm.create_model(name, pretrained=False, num_classes=CLASSES).eval()
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear) and not layer.weight.any():  # resmlp_12's last one
            torch.nn.init.normal_(layer.weight, std=0.1)
    graph = exported(model)

    monkeypatch.setenv("WARPGUARD_STORE", str(tmp_path / "store"))
    (tmp_path / "own.onnx").write_bytes(graph)
    described = Manifest(
        name="own",
        input=GraphInput(height_px=SIDE_PX, width_px=SIDE_PX),
        scaling=Scaling(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
        labels=tuple(f"class {number}" for number in range(CLASSES)),
    )
    manifest = add(Store(), "own", tmp_path / "own.onnx", described)

    tensor = torch.from_numpy(to_tensor(PIXELS, manifest))[None]
    of_torch, of_graph = gradients(model, graph, tensor)
    assert of_torch.norm() > 0
    assert (of_graph - of_torch).norm() <= 1e-4 * of_torch.norm()

    scores = Classifier(manifest, graph, device="cpu").run(tensor.numpy())
    label = int(scores[0].argmax())
    data = tmp_path / "data"
    data.mkdir()
    Image.fromarray(PIXELS).save(data / "noise.png")
    (data / "labels.csv").write_text(f"file,label,target\nnoise.png,{label},{(label + 1) % 10}\n")
    service, _ = serve("--model", "own")
    with redirect_stdout(io.StringIO()):
        command = ["run", "adaptive(rounds=2,draws=1,loss=logit)", "--endpoint", service.url]
        command += ["--data", str(data), "--sanity-images", "0", "--scoring-draws", "2"]
        assert main([*command, "--out", str(tmp_path / "run")]) == 0
    (image,) = json.loads((tmp_path / "run" / "run.json").read_text())["images"]
    assert image["zero_gradients"] == image["nonfinite_gradients"] == 0
