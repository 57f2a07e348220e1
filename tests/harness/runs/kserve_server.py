"""``python kserve_server.py --http_port PORT``: KServe's server, with three classes of colours.

It runs in the clients' environment, which does not have this project's packages. The test has the
same model as an ONNX file: the logits are 15 times the mean colours, scaled to [-1, 1].
"""

from base64 import b64decode
from io import BytesIO

import numpy as np
from kserve import InferOutput, InferResponse, Model, ModelServer
from kserve.model_server import parser
from PIL import Image

SCALED = {"datatype": "FP32", "shape": [-1, 3, 16, 16]}
INPUTS = {
    "scaled": SCALED,
    "pixels": {"datatype": "UINT8", "shape": [-1, 16, 16, 3]},
    "files": {"datatype": "BYTES", "shape": [-1]},
    "undescribed": None,
    "swapped": SCALED,
}


class Colours(Model):
    def __init__(self, name):
        super().__init__(name)
        self.ready = True
        self.posted = 0

    def get_input_types(self):
        given = INPUTS[self.name]
        return [{"name": "image", **given}] if given else []

    def get_output_types(self):
        if self.name == "swapped" and self.posted > 9:  # as if another model were loaded
            return [{"name": "scores", "datatype": "FP32", "shape": [-1, 4]}]
        return [{"name": "scores", "datatype": "FP32", "shape": [-1, 3]}]

    async def predict(self, payload, headers=None):  # noqa: ARG002  # KServe passes both
        self.posted += 1
        images = payload.inputs[0].as_numpy()
        if self.name == "files":
            files = [BytesIO(b64decode(text)) for text in images]
            images = np.stack([np.asarray(Image.open(file)) for file in files])
        if images.dtype == np.uint8:
            images = images.transpose(0, 3, 1, 2) / 127.5 - 1
        scores = 15 * images.mean(axis=(2, 3), dtype=np.float64)
        if self.name in ("pixels", "files"):
            exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
            scores = exponentials / exponentials.sum(axis=1, keepdims=True)
        binary = payload.use_binary_outputs
        output = InferOutput("scores", [len(images), 3], "FP32")
        output.set_data_from_numpy(scores.astype(np.float32), binary_data=binary)
        return InferResponse(payload.id, self.name, [output], use_binary_outputs=binary)


if __name__ == "__main__":
    options = parser.parse_args()
    server = ModelServer(http_port=options.http_port, enable_grpc=False)
    server.start([Colours(name) for name in INPUTS])
