"""kinegraph: recognise human actions from skeletons."""

__version__ = "0.1.0"
