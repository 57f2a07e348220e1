"""Randomized, non-differentiable preprocessing against adversarial examples.

The package needs numpy and OpenCV. It imports ONNX Runtime when it loads a network of the user's.
``operation`` is the protocol that every defence follows, ``pipeline`` joins them, and
``specification`` reads their names. Each other module is one defence (``feature_distillation`` is
``fd``, ``grid_distortion`` is ``rdg``, ``resize_pad`` is ``rand``), or a tool of some: ``draws`` of
random numbers, ``levels`` and ``index_maps`` of pixels, files of the user's (``from_file``), what
was measured (``measurements``).

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
from defenses.crop import CropDraw, RandomCrop
from defenses.deflection import DeflectionDraw, PixelDeflection
from defenses.feature_distillation import FeatureDistillation, FeatureDistillationDraw
from defenses.grid_distortion import GridDistortionDraw, RandomGridDistortion
from defenses.jpeg import JpegCompression
from defenses.matrix_estimation import MatrixEstimation, MatrixEstimationDraw
from defenses.measurements import Measured, Measurement, measured
from defenses.onnx_network import OnnxNetwork
from defenses.operation import (
    MIN_SIDE_PX,
    DefenseError,
    Draw,
    Gradient,
    Image,
    ImageError,
    Operation,
)
from defenses.pipeline import OPERATIONS, Pipeline, PipelineDraw
from defenses.quilting import Quilting, QuiltingDraw
from defenses.resize_pad import RandomResizePad, ResizePadDraw
from defenses.shield import Shield, ShieldDraw
from defenses.specification import (
    SpecificationError,
    choices,
    format_arguments,
    read_arguments,
    split_terms,
)
from defenses.total_variation import TotalVariationDraw, TotalVariationMinimization

__all__ = [
    "MIN_SIDE_PX",
    "OPERATIONS",
    "BitDepthReduction",
    "CropDraw",
    "DefenseError",
    "DeflectionDraw",
    "Draw",
    "FeatureDistillation",
    "FeatureDistillationDraw",
    "Gradient",
    "GridDistortionDraw",
    "Image",
    "ImageError",
    "JpegCompression",
    "MatrixEstimation",
    "MatrixEstimationDraw",
    "Measured",
    "Measurement",
    "OnnxNetwork",
    "Operation",
    "Pipeline",
    "PipelineDraw",
    "PixelDeflection",
    "Quilting",
    "QuiltingDraw",
    "RandomCrop",
    "RandomGridDistortion",
    "RandomResizePad",
    "ResizePadDraw",
    "Shield",
    "ShieldDraw",
    "SpecificationError",
    "TotalVariationDraw",
    "TotalVariationMinimization",
    "choices",
    "format_arguments",
    "measured",
    "patch_bank",
    "read_arguments",
    "split_terms",
]
