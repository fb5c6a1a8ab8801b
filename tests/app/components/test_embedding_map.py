"""What the embedding map decides in Python: what it accepts from the browser, its colours."""

from __future__ import annotations

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from app.components import embedding_map as module
from app.components.embedding_map import PALETTE, SEQUENTIAL, Action, Colours, Picture, _entries, _read_action, embedding_map

PICTURE = Picture("first", "Map of four points", "/points", "four")


@pytest.mark.parametrize(
    "sent",
    [
        {"mode": "explode", "row": 1},
        {"mode": "replace"},
        {"mode": "replace", "row": 10},
        {"mode": "replace", "row": -1},
        {"mode": "replace", "row": "1"},
        {"mode": "replace", "row": True},
        {"mode": "replace", "row": 1, "picture": 3},
        {"mode": "clear", "picture": None},
        {"mode": "add", "polygon": [[0, 0], [1, 1]]},
        {"mode": "add", "polygon": [[0, 0]] * 61},
        {"mode": "add", "polygon": [[0, 0], [1, 1], [1, float("nan")]]},
        {"mode": "add", "polygon": [[0, 0], [1, 1], "x"]},
        {"mode": "isolate", "by": "given label"},
        {"mode": "isolate", "by": 3, "codes": [1]},
        {"mode": "isolate", "by": "given label", "codes": [-1]},
        {"mode": "isolate", "by": "given label", "codes": ["1"]},
        {"mode": "isolate", "by": "given label", "codes": [1] * 201},
    ],
)
def test_what_is_no_act_on_this_map_is_ignored(sent: dict[str, object]) -> None:
    assert _read_action({"picture": "first"} | sent, 10) is None


def test_actions_of_the_browser_are_read() -> None:
    assert _read_action({"mode": "clear", "picture": "first", "id": 1}, 10) == Action("clear", "first")
    assert _read_action({"mode": "add", "picture": "first", "row": 9}, 10) == Action("add", "first", row=9)
    assert _read_action({"mode": "subtract", "picture": "second", "polygon": [[0, 0], [1, 0], [0, 1]]}, 10) == Action(
        "subtract", "second", polygon=[(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]
    )
    assert _read_action({"mode": "isolate", "picture": "first", "by": "flag", "codes": [1, 0]}, 10) == Action(
        "isolate", "first", by="flag", codes=(1, 0)
    )


@pytest.mark.parametrize("codes", [np.zeros(3, np.int64), np.zeros((3, 1), np.uint8), np.zeros(3, np.float32)])
def test_other_shapes_and_dtypes_are_refused(codes: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must be"):
        embedding_map(PICTURE, Colours("class", codes, PALETTE), selected=None, polygon=None, key="map")


def test_the_legend_has_the_classes_with_the_most_samples_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = np.array([3, 1, 1, 0, 3, 3, 2], np.uint16)
    colours = Colours("class", codes, PALETTE, ["a", "b", "c", "d", "nobody"])
    assert _entries(colours) == [(0, "a", 1), (1, "b", 2), (2, "c", 1), (3, "d", 3), (4, "nobody", 0)]
    monkeypatch.setattr(module, "MOST_ENTRIES", 2)
    assert _entries(colours) == [(1, "b", 2), (3, "d", 3)]
    assert _entries(Colours("score", codes, SEQUENTIAL, continuous=(0.0, 1.0, "Score"))) == []


def test_a_point_costs_one_byte_of_colour_and_one_bit_of_selection(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, np.ndarray]] = []
    monkeypatch.setattr(module, "_MAP", lambda **given: sent.append(given["data"]))
    codes = np.arange(1000, dtype=np.uint16) % 200
    for chosen in (np.array([0, 9, 999]), np.isin(np.arange(1000), [0, 9, 999])):
        embedding_map(PICTURE, Colours("class", codes, PALETTE, ["x"] * 200), selected=chosen, polygon=None, key="map")
        data = sent.pop()
        assert (data["codes"].nbytes, data["selected"].nbytes, data["selected_count"]) == (1000, 125, 3)
        assert np.array_equal(data["codes"], codes)
        assert np.flatnonzero(np.unpackbits(data["selected"])).tolist() == [0, 9, 999]
    embedding_map(PICTURE, Colours("class", codes + 200, PALETTE), selected=None, polygon=None, key="map")
    data = sent.pop()
    assert (data["codes"].dtype, data["selected_count"]) == (np.uint16, 0)


def test_the_map_mounts_on_a_page() -> None:
    def page() -> None:
        import numpy as np
        import streamlit as st

        from app.components.embedding_map import PALETTE, Colours, Picture, embedding_map, take_action

        embedding_map(
            Picture("first", "Map of four points", "/points", "four"),
            Colours("given label", np.zeros(4, np.uint16), PALETTE, ["cat"], isolated=[]),
            selected=np.array([1, 2], np.int32),
            polygon=[(0, 0), (1, 0), (1, 1)],
            key="map",
        )
        st.write(f"action: {take_action('map', 4)}")

    tested = AppTest.from_function(page).run()
    assert not tested.exception
    assert tested.markdown[0].value == "action: None"


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
