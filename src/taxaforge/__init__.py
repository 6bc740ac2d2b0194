"""taxaforge: from a species list to a verdict on synthetic training images."""

__version__ = "0.1.0"
