"""Keys that decide work while a checkbox or a switch has the focus too: Streamlit leaves out what is typed into any input."""

from __future__ import annotations

import streamlit as st

_JS = """
const TICKED = "input[type=checkbox], input[type=radio], input[type=range]"

function relay(event) {
  const held = event.ctrlKey || event.metaKey || event.altKey
  if (held || !/^[a-z0-9]$/i.test(event.key) || !event.target.matches?.(TICKED)) return
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key: event.key, code: event.code, bubbles: true }))
}

export default function () {
  document.addEventListener("keydown", relay)
  return () => document.removeEventListener("keydown", relay)
}
"""

_RELAY = st.components.v2.component("oga_key_relay", js=_JS)


def draw() -> None:
    """Relay keys as long as this is on the page; it shows nothing."""
    _RELAY(key="key_relay", height="content")
