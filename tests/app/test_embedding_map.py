"""What the embedding map decides in Python: what it accepts from the browser, its colours."""

from __future__ import annotations

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from app.components.embedding_map import PALETTE, SEQUENTIAL, Lasso, _act, embedding_map


@pytest.mark.parametrize(
    "sent",
    [
        {"mode": "explode", "row": 1},
        {"mode": "replace"},
        {"mode": "replace", "row": 10},
        {"mode": "replace", "row": -1},
        {"mode": "replace", "row": "1"},
        {"mode": "add", "polygon": [[0, 0], [1, 1]]},
        {"mode": "add", "polygon": [[0, 0]] * 61},
        {"mode": "add", "polygon": [[0, 0], [1, 1], [1, float("nan")]]},
        {"mode": "add", "polygon": [[0, 0], [1, 1], "x"]},
    ],
)
def test_what_is_no_act_on_this_map_is_ignored(sent: dict[str, object]) -> None:
    assert _act(sent, 10) is None


def test_acts_of_the_browser_are_read() -> None:
    assert _act({"mode": "clear", "id": 1}, 10) == Lasso("clear")
    assert _act({"mode": "add", "row": 9}, 10) == Lasso("add", row=9)
    assert _act({"mode": "subtract", "polygon": [[0, 0], [1, 0], [0, 1]]}, 10) == Lasso(
        "subtract", polygon=[(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]
    )


@pytest.mark.parametrize(
    ("positions", "codes"),
    [
        (np.zeros((3, 2)), np.zeros(3, np.uint8)),
        (np.zeros((3, 3), np.float32), np.zeros(3, np.uint8)),
        (np.zeros((3, 2), np.float32), np.zeros(3, np.int64)),
        (np.zeros((3, 2), np.float32), np.zeros(4, np.uint8)),
    ],
)
def test_other_shapes_and_dtypes_are_refused(positions: np.ndarray, codes: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must be"):
        embedding_map(positions, codes, palette=PALETTE, names=[], labels=None, selected=None, polygon=None, key="map")


def test_the_map_mounts_on_a_page() -> None:
    def page() -> None:
        import numpy as np
        import streamlit as st

        from app.components.embedding_map import PALETTE, embedding_map, next_act

        codes = np.zeros(4, np.uint16)
        labels = (["cat"], codes, codes, np.ones(4, np.float32))
        embedding_map(
            np.ones((4, 2), np.float32),
            codes,
            palette=PALETTE,
            names=["cat"],
            labels=labels,
            selected=np.array([1, 2], np.int32),
            polygon=[(0, 0), (1, 0), (1, 1)],
            key="map",
        )
        st.write(f"act: {next_act('map', 4)}")

    tested = AppTest.from_function(page).run()
    assert not tested.exception
    assert tested.markdown[0].value == "act: None"


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", PALETTE)
def test_categories_show_on_white_and_on_dark(colour: str) -> None:
    assert contrast(colour, "#ffffff") > 1.9
    assert contrast(colour, "#0e1117") > 2.5


def test_colours_are_enough_and_the_ramp_grows_lighter_in_small_steps() -> None:
    assert len(set(PALETTE)) == len(PALETTE) >= 20
    assert len(SEQUENTIAL) == 256
    lightness = np.cbrt([luminance(colour) for colour in SEQUENTIAL])
    assert (lightness[8:] > lightness[:-8]).all()
    assert contrast(SEQUENTIAL[0], "#0e1117") > 2
    assert contrast(SEQUENTIAL[-1], "#ffffff") > 1.5
