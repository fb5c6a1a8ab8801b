"""Data from strangers, opened in a process of its own: what a hostile file does to a decoder stays there."""

from oga_core.reader.contained import Contained, Outlook, architectures, get_ready, open_contained

__all__ = ["Contained", "Outlook", "architectures", "get_ready", "open_contained"]
