"""``python kserve_server.py --http_port PORT``: KServe's server, with the mean colour of images.

It runs in the clients' environment, which does not have this project's packages.
"""

import asyncio
from base64 import b64decode
from io import BytesIO

import numpy as np
from kserve import InferOutput, InferResponse, Model, ModelServer
from kserve.model_server import parser
from PIL import Image

INPUTS = {
    "pixels": {"datatype": "UINT8", "shape": [-1, -1, -1, 3]},
    "scaled": {"datatype": "FP32", "shape": [-1, 3, 32, 32]},
    "files": {"datatype": "BYTES", "shape": [-1]},
}


class Colours(Model):
    def __init__(self, name):
        super().__init__(name)
        self.ready = True

    def get_input_types(self):
        return [{"name": "image", **INPUTS[self.name]}]

    async def predict(self, payload, headers=None):
        if isinstance(payload, dict):  # protocol v1
            return {
                "predictions": means(np.array(payload["instances"])).tolist(),
                "request_id": headers["x-request-id"],
            }
        await asyncio.sleep((payload.parameters or {}).get("sleep_s", 0))
        images = payload.inputs[0].as_numpy()
        if self.name == "scaled":
            images = images.transpose(0, 2, 3, 1)
        elif self.name == "files":
            files = [BytesIO(b64decode(text)) for text in images]
            images = np.stack([np.asarray(Image.open(file)) for file in files])
        binary = payload.use_binary_outputs
        output = InferOutput("means", [len(images), 3], "FP32")
        output.set_data_from_numpy(means(images), binary_data=binary)
        identity = payload.id or "none"  # kserve cannot write an answer without one
        return InferResponse(identity, self.name, [output], use_binary_outputs=binary)


def means(images):
    return images.mean(axis=(1, 2), dtype=np.float32)


if __name__ == "__main__":
    options = parser.parse_args()
    server = ModelServer(http_port=options.http_port, enable_grpc=False)
    server.start([Colours(name) for name in INPUTS])
