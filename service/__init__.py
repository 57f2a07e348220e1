"""The HTTP service and the command line around the defences and the models."""

from importlib.metadata import version

__version__ = version("warpguard")
