"""The files that models come in, by their names."""

SUFFIXES = (".safetensors", ".pt", ".pth", ".th", ".bin")
"""Of weights."""
CONFIG, ADAPTER = "config.json", "adapter_config.json"
"""By which the folder of a whole model is known, and that of an adapter."""
