"""Maps: every sample a point, by its gradient or by its features, beside those that point the same way."""

from oga_core.maps.run_maps import JOBS, METHODS, SPACES, do_map, embedding, picture, pictures

__all__ = ["JOBS", "METHODS", "SPACES", "do_map", "embedding", "picture", "pictures"]
