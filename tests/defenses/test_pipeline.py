from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defenses import (
    BitDepthReduction,
    DefenseError,
    FeatureDistillation,
    ImageError,
    JpegCompression,
    MatrixEstimation,
    OnnxNetwork,
    Operation,
    Pipeline,
    PixelDeflection,
    Quilting,
    RandomCrop,
    RandomGridDistortion,
    RandomResizePad,
    Shield,
    TotalVariationMinimization,
)

RDG = RandomGridDistortion()


@pytest.mark.parametrize(
    ("text", "operations"),
    [
        ("none", ()),
        ("fd", (FeatureDistillation(),)),
        ("rdg", (RandomGridDistortion(),)),
        ("rand", (RandomResizePad(),)),
        ("fd+rdg", (FeatureDistillation(), RandomGridDistortion())),
        ("fd+rand", (FeatureDistillation(), RandomResizePad())),
        ("fd*2+rdg", (FeatureDistillation(passes=2), RandomGridDistortion())),
        ("fd*3+rdg", (FeatureDistillation(passes=3), RandomGridDistortion())),
        (
            "fd(step=20)+rdg(delta=0.1)",
            (FeatureDistillation(step=20), RandomGridDistortion(delta=0.1)),
        ),
        (
            " fd( step=2e+1, phase=random ) * 2 + rdg(cell=None,corner=top-left) ",
            (
                FeatureDistillation(step=20.0, phase="random", passes=2),
                RandomGridDistortion(corner="top-left"),
            ),
        ),
        ("fd(passes=2)", (FeatureDistillation(passes=2),)),
        ("rand(value=0,canvas=500)", (RandomResizePad(value=0, canvas=500),)),
        ("bitdepth(bits=5)+jpeg", (BitDepthReduction(bits=5), JpegCompression())),
        ("jpeg(quality=90,subsampling=444)", (JpegCompression(quality=90, subsampling=444),)),
        ("shield(qualities=20-80)+crop", (Shield(qualities="20-80"), RandomCrop())),
        ("shield(qualities=75)", (Shield(qualities="75"),)),
        ("crop(fraction=1)", (RandomCrop(fraction=1),)),
        ("deflect(window=5)+tvm", (PixelDeflection(window=5), TotalVariationMinimization())),
        ("menet(keep_low=0.5)", (MatrixEstimation(keep_low=0.5),)),
    ],
)
def test_parse(text, operations):
    pipeline = Pipeline.parse(text)
    assert pipeline == Pipeline(operations)
    assert Pipeline.parse(str(pipeline)) == pipeline


@pytest.mark.parametrize("text", ["none", "fd", "fd*2+rdg", "fd(step=20)*3+rdg(delta=0.1)+rand"])
def test_str_is_what_was_written(text):
    assert str(Pipeline.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "fd\\+rdg"),
        ("+", "is not a valid defence"),
        ("fd+", "is not a valid defence"),
        ("fd rdg", "'fdrdg'"),
        ("fd++rdg", "is not a valid defence"),
        ("fd+none", "none cannot be combined"),
        ("jepg", "Unknown defence 'jepg'. Defences: fd, rdg, rand, bitdepth, jpeg"),
        ("FD", "is not a valid defence"),
        ("fd(", "is not a valid defence"),
        ("fd(step)", "with step, corner_step, corner_size, phase, passes; not 'step'"),
        ("fd(stride=3)", "not 'stride=3'"),
        ("fd(passes=2)*2", "passes is given twice"),
        ("fd(step=1,step=2)", "step is given twice"),
        ("fd(step=fine)", "step must be in \\(0, 2048\\], not 'fine'"),
        ("fd*0", "passes must be a whole number in 1…4"),
        ("fd*9", "passes must be a whole number in 1…4"),
        ("rdg*2", "write rdg\\+rdg"),
        ("rdg(delta=nan)", "delta must be in \\[0, 1\\], not 'nan'"),
        ("fd(step=2 0)", "no spaces, commas or brackets"),
        ("onnx(file=my blur.onnx)", "no spaces, commas or brackets"),
        ("onnx(file=blur(1).onnx)", "no spaces, commas or brackets"),
        ("onnx(file=blur,sharpen.onnx)", "not 'sharpen.onnx'"),
        ("onnx(file=brüh.onnx)", "file must be the path of a file in ASCII letters"),
        ("onnx(file=missing.onnx)", "onnx: missing.onnx cannot be read: No such file"),
        ("onnx(file=~nobody-here/blur.onnx)", "cannot be read: Could not determine home"),
        ("onnx(file=.)", "onnx: . cannot be read: it is not a regular file"),
        ("onnx", r"onnx: file has no default; write onnx\(file=…\)"),
        ("quilt(nearest=3)", r"quilt: bank has no default; write quilt\(bank=…\)"),
        ("rand(canvas=1)", "canvas must be a whole number of px in 330…1196"),
    ],
)
def test_a_mistake_is_an_error_that_names_what_is_allowed(text, said):
    with pytest.raises(DefenseError, match=said):
        Pipeline.parse(text)


@given(st.text(alphabet="fdrgan+*()=,.0123456789 stepl", max_size=30))
def test_any_text_is_a_pipeline_or_a_defense_error(text):
    try:
        pipeline = Pipeline.parse(text)
    except DefenseError:
        return
    assert Pipeline.parse(str(pipeline)) == pipeline


operations = st.one_of(
    st.builds(
        FeatureDistillation,
        step=st.floats(1, 100),
        corner_step=st.integers(1, 100),
        corner_size=st.integers(0, 8),
        phase=st.one_of(st.integers(0, 7), st.just("random")),
        passes=st.integers(1, 4),
    ),
    st.builds(
        RandomGridDistortion,
        delta=st.floats(0, 1),
        cell=st.one_of(st.none(), st.integers(1, 50)),
        corner=st.sampled_from(["random", "top-left", "bottom-right"]),
    ),
    st.builds(
        RandomResizePad,
        largest=st.integers(299, 400),
        canvas=st.integers(400, 800),
        value=st.floats(0, 1),
    ),
    st.builds(BitDepthReduction, bits=st.integers(1, 8)),
    st.builds(
        JpegCompression,
        quality=st.integers(1, 100),
        subsampling=st.sampled_from([411, 420, 422, 440, 444]),
    ),
    st.builds(
        Shield,
        qualities=st.lists(st.integers(1, 100), min_size=1, unique=True).map(
            lambda numbers: "-".join(map(str, numbers))
        ),
    ),
    st.builds(RandomCrop, fraction=st.floats(0, 1, exclude_min=True)),
    st.builds(
        PixelDeflection,
        deflections=st.integers(0, 1000),
        window=st.integers(1, 20),
        sigma=st.floats(0, 1),
    ),
    st.builds(
        TotalVariationMinimization,
        keep=st.floats(0.01, 1),
        weight=st.floats(1e-4, 1),
        rounds=st.integers(1, 100),
    ),
    st.builds(
        MatrixEstimation,
        keep_low=st.floats(0.01, 0.5),
        keep_high=st.floats(0.5, 1),
        fraction=st.floats(0.01, 1),
    ),
    st.builds(  # made when the test runs, because the files do not exist yet
        Quilting,
        bank=st.just("bank.npz"),
        nearest=st.integers(1, 100),
        overlap=st.integers(1, 2),
    ),
    st.builds(OnnxNetwork, file=st.sampled_from(["blur.onnx", "./blur.onnx"])),
)


@given(st.lists(operations, max_size=4))
def test_every_pipeline_is_read_back_from_its_specification(parts):
    pipeline = Pipeline(parts)
    assert Pipeline.parse(str(pipeline)) == pipeline


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("onnx( file = ./blur.onnx )+rdg", lambda: (OnnxNetwork("./blur.onnx"), RDG)),
        ("quilt(nearest=3,bank=bank.npz)", lambda: (Quilting(bank="bank.npz", nearest=3),)),
    ],
)
def test_parse_an_operation_with_a_file(text, made):
    pipeline = Pipeline.parse(text)
    assert pipeline == Pipeline(made())
    assert hash(pipeline) == hash(Pipeline(made()))
    assert Pipeline.parse(str(pipeline)) == pipeline


@pytest.mark.parametrize("name", ["7", "1e5", "None", "nan", "a~b%c=d.e-f_g@h:i'j*k[l]{m}+n"])
def test_a_path_is_read_back_as_it_was_written(name, files):
    (files / name).write_bytes((files / "blur.onnx").read_bytes())
    pipeline = Pipeline.parse(f"fd+onnx(file={name})")
    assert str(pipeline) == f"fd+onnx(file={name})"
    assert Pipeline.parse(str(pipeline)) == pipeline


def test_a_pipeline_is_an_operation_and_nests():
    inner = Pipeline.parse("fd+rdg")
    assert isinstance(inner, Operation)
    assert Pipeline((inner, RandomResizePad())) == Pipeline.parse("fd+rdg+rand")


def test_none_returns_a_copy():
    image = np.zeros((8, 8, 3), np.uint8)
    pipeline = Pipeline.parse("none")
    defended = pipeline.apply(image, pipeline.sample(None, image.shape))
    np.testing.assert_array_equal(defended, image)
    assert not np.shares_memory(defended, image)


@pytest.mark.parametrize(
    "text", ["none", "fd", "fd+rdg", "fd+bitdepth+rand", "rdg", "rdg+fd", "fd(phase=random)+rdg"]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_several_draws_are_bit_for_bit_those_of_several_calls(text, dtype):
    image = np.random.default_rng(3).integers(0, 256, (40, 48, 3), np.uint8)
    if dtype == np.float32:
        image = image.astype(np.float32) / 255
    before, pipeline = image.copy(), Pipeline.parse(text)
    one_rng, rng = Random(7), Random(7)
    several = [*pipeline.several(image, rng, 4)]
    np.testing.assert_array_equal(several, [pipeline(image, one_rng) for _ in range(4)])
    assert all(each.dtype == dtype for each in several)
    assert np.array_equal(image, before)
    assert not any(np.shares_memory(each, image) for each in several)
    assert not np.shares_memory(several[0], several[1])


def test_operations_before_the_first_random_one_are_applied_once(monkeypatch):
    applied = []
    for kind in (FeatureDistillation, BitDepthReduction, RandomGridDistortion):
        monkeypatch.setattr(
            kind, "_apply", lambda self, image, _: applied.append(self.name) or image.copy()
        )
    image = np.zeros((16, 16, 3), np.uint8)
    assert len([*Pipeline.parse("fd+bitdepth+rdg+fd").several(image, Random(0), 3)]) == 3
    assert applied == ["fd", "bitdepth", *["rdg", "fd"] * 3]


def test_several_draws_of_an_invalid_image_are_refused():
    with pytest.raises(ImageError, match="divide by 255"):
        next(Pipeline.parse("rdg").several(np.full((16, 16, 3), 255, np.float32), Random(0), 2))


def test_a_digest_is_that_of_the_specification_and_of_the_files(tmp_path):
    assert Pipeline.parse("fd+rdg").digest() == Pipeline.parse("fd + rdg").digest()
    assert len(Pipeline.parse("none").digest()) == 64
    assert Pipeline.parse("fd").digest() != Pipeline.parse("rdg").digest()
    bank = tmp_path / "bank.npz"
    digests = set()
    for seed in (0, 1):
        patches = np.random.default_rng(seed).integers(0, 256, (200, 5, 5, 3), np.uint8)
        np.savez(bank, patches=patches)
        quilt = Pipeline.parse(f"fd+quilt(bank={bank})")
        assert quilt.paths == (bank,)
        digests.add(quilt.digest())
    assert len(digests) == 2
