import pytest

from harness.report.evidence.robustbench import robustbench


@pytest.mark.parametrize(
    ("defense", "accepted", "reason"),
    [
        ("none", True, "Without a defence"),
        ("fd+rdg", False, "fd has a gradient of zero for 97.9 % of its values; rdg is random"),
        ("rdg", False, "refuse rdg: rdg is random"),
        ("bitdepth", False, "bitdepth has a gradient of zero"),
        ("tvm", False, "tvm solves an optimisation problem for each image"),
        ("onnx(file=/no/such/file.onnx)", None, "The properties of onnx are not measured"),
        ("onnx(file=/no/such/file.onnx)+rdg", False, "rdg is random"),
        ("blur", None, "What blur does is not known here"),
        ("not a defence \x1b[31m", None, "What not a defence [31m does is not known here"),
    ],
)
def test_the_rules_are_applied_to_the_measured_properties(defense, accepted, reason):
    found = robustbench(defense)
    assert found.accepted is accepted
    assert reason in found.paragraph
    assert found.paragraph.startswith("RobustBench ranks models by one standard attack.")
