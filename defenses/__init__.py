"""Randomized, non-differentiable preprocessing against adversarial examples.

The package needs numpy and OpenCV. It imports ONNX Runtime when it loads a network of the user's.
``operation`` is the protocol that every defence follows, ``pipeline`` joins them, and
``specification`` reads their names. Each other module is one defence (``feature_distillation`` is
``fd``, ``grid_distortion`` is ``rdg``, ``resize_pad`` is ``rand``), or a tool of some: ``draws`` of
random numbers, ``levels`` and ``index_maps`` of pixels, files of the user's (``from_file``), what
was measured (``measurements``). ``plugins`` finds the operations of other packages.

>>> import random
>>> import numpy as np
>>> from defenses import Pipeline
>>> pipeline = Pipeline.parse("fd+rdg")
>>> image = np.full((299, 299, 3), 128, np.uint8)
>>> defended = pipeline(image, random.SystemRandom())
>>> defended.shape, defended.dtype
((299, 299, 3), dtype('uint8'))
"""

from defenses import patch_bank
from defenses.bit_depth import BitDepthReduction
from defenses.crop import RandomCrop
from defenses.deflection import PixelDeflection
from defenses.feature_distillation import FeatureDistillation
from defenses.from_file import FromFile
from defenses.grid_distortion import RandomGridDistortion
from defenses.jpeg import JpegCompression
from defenses.matrix_estimation import MatrixEstimation
from defenses.measurements import Measured, measured
from defenses.onnx_network import OnnxNetwork
from defenses.operation import (
    MIN_SIDE_PX,
    DefenseError,
    Draw,
    Gradient,
    Image,
    ImageError,
    Operation,
    StraightThrough,
    image_size,
)
from defenses.pipeline import OPERATIONS, Pipeline, PipelineDraw
from defenses.plugins import PluginError, Registry
from defenses.quilting import Quilting
from defenses.resize_pad import RandomResizePad
from defenses.shield import Shield
from defenses.specification import (
    SpecificationError,
    choices,
    format_arguments,
    read_arguments,
    split_terms,
)
from defenses.total_variation import TotalVariationMinimization

__all__ = [
    "MIN_SIDE_PX",
    "OPERATIONS",
    "BitDepthReduction",
    "DefenseError",
    "Draw",
    "FeatureDistillation",
    "FromFile",
    "Gradient",
    "Image",
    "ImageError",
    "JpegCompression",
    "MatrixEstimation",
    "Measured",
    "OnnxNetwork",
    "Operation",
    "Pipeline",
    "PipelineDraw",
    "PixelDeflection",
    "PluginError",
    "Quilting",
    "RandomCrop",
    "RandomGridDistortion",
    "RandomResizePad",
    "Registry",
    "Shield",
    "SpecificationError",
    "StraightThrough",
    "TotalVariationMinimization",
    "choices",
    "format_arguments",
    "image_size",
    "measured",
    "patch_bank",
    "read_arguments",
    "split_terms",
]
