"""The version of the program; apart from the package's own file, which offers the Python API and so imports much."""

__version__ = "0.1.0"
