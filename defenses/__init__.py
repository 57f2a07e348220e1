"""Randomized, non-differentiable preprocessing against adversarial examples: numpy and OpenCV.

>>> import random
>>> import numpy as np
>>> from defenses import Pipeline
>>> pipeline = Pipeline.parse("fd+rdg")
>>> image = np.full((299, 299, 3), 128, np.uint8)
>>> defended = pipeline(image, random.SystemRandom())
>>> defended.shape, defended.dtype
((299, 299, 3), dtype('uint8'))
"""

from defenses.feature_distillation import FeatureDistillation, FeatureDistillationDraw
from defenses.grid_distortion import GridDistortionDraw, RandomGridDistortion
from defenses.operation import DefenseError, Draw, Gradient, Image, ImageError, Operation
from defenses.pipeline import OPERATIONS, Pipeline, PipelineDraw
from defenses.resize_pad import RandomResizePad, ResizePadDraw

__all__ = [
    "OPERATIONS",
    "DefenseError",
    "Draw",
    "FeatureDistillation",
    "FeatureDistillationDraw",
    "Gradient",
    "GridDistortionDraw",
    "Image",
    "ImageError",
    "Operation",
    "Pipeline",
    "PipelineDraw",
    "RandomGridDistortion",
    "RandomResizePad",
    "ResizePadDraw",
]
