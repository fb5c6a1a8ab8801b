"""The sandbox: untrusted files are opened in a process of its own, and what they do to a decoder stays there."""

from oga_core.sandbox.client import list_architectures, start_spare
from oga_core.sandbox.dataset import Excerpt, SandboxedDataset, open_sandboxed
from oga_core.sandbox.model import Outlook, SandboxedModel

__all__ = [
    "Excerpt",
    "Outlook",
    "SandboxedDataset",
    "SandboxedModel",
    "list_architectures",
    "open_sandboxed",
    "start_spare",
]
