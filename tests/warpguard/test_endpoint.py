"""A server as a function of arrays: what it hides, its size, its errors."""

import numpy as np
import pytest

from warpguard import Answer, ClassProbability, ClientError, FileAnswer, FileError, Model
from warpguard.endpoint import Endpoint


class Stub:
    """A client whose server answers each image with some classes."""

    url = "http://host:1"

    def __init__(self, *classes, error=None, count=4):
        self.classes, self.error, self.count, self.asked = classes, error, count, []

    def models(self):
        about = {"name": "m", "provider": "cpu", "source": "", "licence": ""}
        return (Model(input={"height_px": 8, "width_px": 9}, classes=self.count, **about),)

    def predict_files(self, files, **options):
        self.asked.append(options)
        for _ in files:
            if self.error:
                yield FileAnswer("1", error=self.error)
            else:
                yield FileAnswer(
                    "1",
                    Answer(predictions=self.classes, model="m", defense="", draws=1, request_id=""),
                )


IMAGES = np.zeros((2, 3, 8, 9), np.float32)


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ([ClassProbability(2, "c")], [0, 0, 1, 0]),
        ([ClassProbability(2, "c", 0.4)], [0.2, 0.2, 0.4, 0.2]),
        (
            [ClassProbability(i, "", p) for i, p in ((1, 0.5), (0, 0.25), (3, 0.15), (2, 0.1))],
            [0.25, 0.5, 0.1, 0.15],
        ),
    ],
)
def test_classes_that_a_server_does_not_name_share_the_rest(classes, expected):
    stub = Stub(*classes)
    endpoint = Endpoint(stub, defense="fd", draws=2)
    assert endpoint(IMAGES) == pytest.approx(np.array([expected] * 2))
    assert endpoint.queries == 2
    assert stub.asked == [{"top_k": 4, "defense": "fd", "draws": 2, "batch_size": 8}]


def test_an_answer_names_at_most_a_thousand_classes():
    stub = Stub(ClassProbability(2, "c"), count=1001)
    Endpoint(stub)(IMAGES)
    assert stub.asked[0]["top_k"] == 1000


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"the shape \(N, 3, 8, 9\), not \(2, 3, 9, 8\)"):
        Endpoint(Stub())(IMAGES.transpose(0, 1, 3, 2))
    refusing = Stub(error=FileError("bad_image", "Cut short."))
    with pytest.raises(ClientError, match=r"refused an image: bad_image: Cut short\."):
        Endpoint(refusing)(IMAGES)
