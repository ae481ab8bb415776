"""Sottovoce trains one language model on the private text of many parties."""

__version__ = "0.1.0"
