"""The release, where setuptools reads it."""

__all__ = ["__version__"]

__version__ = "0.1.0"
