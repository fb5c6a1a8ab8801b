"""What strangers may drop on the page: each is answered in words, the page lives on, and no request leaves this machine."""

from __future__ import annotations

import base64
import copy
import csv
import io
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Locator, Page, WebSocketRoute, expect

from oga_core import Workspace
from oga_core.serving import Dashboard
from tests.browser.conftest import picture, settled
from tests.browser.test_road import colour_zip

StartServer = Callable[..., Dashboard]
IMAGE, LINK = "![x](http://evil.test/x.png)", '=HYPERLINK("http://evil.test","look")'
DROP = """(zone, [name, data]) => {
    const transfer = new DataTransfer(), bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0))
    transfer.items.add(new File([bytes], name))
    for (const kind of ["dragenter", "dragover", "drop"])
        zone.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true, composed: true }))
}"""


def drop(page: Page, path: Path, what: str = "Data") -> None:
    """Drop a file on the place with this label and wait until it is on the server."""
    place = page.get_by_role("group", name=what, exact=True)
    place.evaluate(DROP, [path.name, base64.b64encode(path.read_bytes()).decode()])
    expect(place.locator(".name")).to_be_visible()
    expect(place.locator("progress")).to_be_hidden()
    settled(page)


def open_start(page: Page, server: Dashboard) -> None:
    page.goto(server.url)
    page.get_by_text("Upload", exact=True).click()
    expect(page.get_by_role("button", name="Data: choose a file")).to_be_visible()
    settled(page)


def refused(page: Page) -> Locator:
    return page.get_by_test_id("stAlert")


def bomb(path: Path) -> None:
    """A zip of 50 kB in which a thousand entries share the same 50 MB of zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/0.png", bytes(50 << 20))
        for i in range(1, 1000):
            again = copy.copy(archive.filelist[0])
            again.filename = again.orig_filename = f"{'cat' if i % 2 else 'dog'}/{i}.png"
            archive.filelist.append(again)


class Harmful:
    """Leaves a file where it is unpickled."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.sign,))


def test_a_zip_bomb(page: Page, start_server: StartServer, tmp_path: Path) -> None:
    bomb(tmp_path / "bomb.zip")
    open_start(page, start_server())
    drop(page, tmp_path / "bomb.zip")
    expect(refused(page)).to_contain_text("overlap")
    expect(refused(page)).to_contain_text("bomb.zip")
    picture(page, "dropped_bomb")
    assert not page.get_by_role("button", name="Score the samples").count()


def test_a_pickle_and_an_exported_program(page: Page, start_server: StartServer, tmp_path: Path) -> None:
    harmful = pickle.dumps(Harmful(tmp_path / "unpickled"))
    (tmp_path / "weights.pt").write_bytes(harmful)
    with zipfile.ZipFile(tmp_path / "weights.pt2", "w") as archive:
        archive.writestr("weights/archive_format", "pt2")
        archive.writestr("weights/data/sample_inputs/model.pt", harmful)
    open_start(page, start_server())
    colour_zip(tmp_path / "colours.zip")
    drop(page, tmp_path / "colours.zip")
    page.get_by_text("My model", exact=True).click()
    place = page.get_by_role("group", name="Weights", exact=True)
    expect(place).to_be_visible()
    settled(page)
    for name, answer in (
        ("weights.pt", "'pathlib.Path.touch' and could run code"),
        ("weights.pt2", "hold a program and are not opened"),
    ):
        drop(page, tmp_path / name, "Weights")
        expect(refused(page)).to_contain_text(name)
        expect(refused(page)).to_contain_text(answer)
        picture(page, f"dropped_{name.rpartition('.')[2]}")
        assert not page.get_by_role("button", name="Score the samples").count()
        place.get_by_role("button", name="Remove").click()
        settled(page)
    assert not (tmp_path / "unpickled").exists()


def test_an_image_of_88_megapixels_among_others(
    page: Page, start_server: StartServer, workspace: Workspace, tmp_path: Path
) -> None:
    buffer = io.BytesIO()
    Image.new("1", (9400, 9400)).save(buffer, "PNG")
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / "large.zip", "w") as archive:
        for i in range(60):
            small = io.BytesIO()
            Image.fromarray(rng.normal(60 + 120 * (i % 2), 20, (8, 8, 3)).clip(0, 255).astype(np.uint8)).save(small, "PNG")
            archive.writestr(f"{'dark' if i % 2 == 0 else 'light'}/{i:02d}.png", small.getvalue())
        archive.writestr("light/huge.png", buffer.getvalue())
    assert (tmp_path / "large.zip").stat().st_size < 100_000
    open_start(page, start_server())
    drop(page, tmp_path / "large.zip")
    page.get_by_role("button", name=re.compile("Score the samples")).click()
    page.get_by_text("Not scored (1)").click()
    expect(page.get_by_role("heading", name=re.compile("large"))).to_be_visible()
    settled(page)
    picture(page, "dropped_pixels")
    (run,) = workspace.runs()
    (huge,) = run.not_scored.to_dict("records")
    assert "huge.png" in huge["source"]
    assert "88,360,000" in huge["reason"]
    assert "image_pixels is 50,000,000" in huge["reason"]
    assert len(run.table) == 60


def test_a_table_of_formulas_and_images(page: Page, start_server: StartServer, tmp_path: Path) -> None:
    with open(tmp_path / f"{IMAGE.replace('/', ':')}.csv", "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow([IMAGE, LINK])
        writer.writerows([f"{LINK if i % 3 else IMAGE} {i}", IMAGE if i % 2 else LINK] for i in range(60))
    open_start(page, start_server())
    drop(page, tmp_path / f"{IMAGE.replace('/', ':')}.csv")
    # Which columns there are, for none goes by a usual name; the address in it is no link.
    expect(refused(page)).to_contain_text(IMAGE.replace("//", "\u2060//"))
    assert not refused(page).get_by_role("link").count()
    expect(refused(page)).to_contain_text("=HYPERLINK(")
    picture(page, "dropped_formulas")
    page.get_by_text("Columns, detectors, seed").click()
    page.get_by_role("textbox", name="Text column, or array of the samples").fill(IMAGE)
    page.get_by_role("textbox", name="Label column or array").fill(LINK)
    page.get_by_role("textbox", name="Label column or array").press("Enter")
    expect(page.get_by_role("button", name=re.compile("Score the samples"))).to_be_visible()
    settled(page)
    assert not refused(page).count()
    assert not page.locator("img[src*='evil'], a[href*='evil']").count()


# ---- the place itself ------------------------------------------------------------------------------------------------------
def test_the_place_is_used_by_keys_cancelled_and_emptied(
    page: Page, start_server: StartServer, workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "large.zip").write_bytes(bytes(40 << 20))
    (tmp_path / "empty.csv").write_bytes(b"")
    open_start(page, start_server())
    place = page.get_by_role("group", name="Data", exact=True)
    choose = page.get_by_role("button", name="Data: choose a file")
    with page.expect_file_chooser() as chooser:
        choose.press("Enter")
    chooser.value.set_files(tmp_path / "empty.csv")
    expect(place.get_by_role("alert")).to_have_text("'empty.csv' is empty (0 bytes)")
    expect(choose).to_be_focused()
    picture(page, "upload_refused")

    page.context.new_cdp_session(page).send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 4 << 20},
    )
    place.locator("input").set_input_files(tmp_path / "large.zip")
    expect(place.locator("progress")).to_be_visible()
    page.wait_for_timeout(700)
    picture(page, "upload_going")
    place.get_by_role("button", name="Cancel").click()
    expect(choose).to_be_focused()
    page.wait_for_timeout(500)
    assert not [p for p in (workspace.path / "uploads").rglob("*") if p.is_file()]

    (tmp_path / "small.csv").write_text("text,label\n" + "".join(f"hello {i},{'ab'[i % 2]}\n" for i in range(40)))
    drop(page, tmp_path / "small.csv")
    expect(page.get_by_role("button", name=re.compile("Score the samples"))).to_be_visible()
    picture(page, "upload_kept")
    page.get_by_role("button", name="Remove").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name=re.compile("Score the samples"))).to_be_hidden()
    expect(choose).to_be_visible()


def test_a_strange_name_is_shown_with_what_cannot_be_seen(page: Page, start_server: StartServer, tmp_path: Path) -> None:
    name = "r\u202egpj.\n" + "ü" * 120 + ".csv"
    assert len(name.encode()) <= 255
    (tmp_path / name).write_text("text,label\n" + "".join(f"hello {i},{'ab'[i % 2]}\n" for i in range(40)))
    open_start(page, start_server())
    drop(page, tmp_path / name)
    expect(page.locator(".upload .name").first).to_contain_text(r"r\u{202e}gpj.\u{a}üüü")
    expect(page.get_by_role("button", name=re.compile("Score the samples"))).to_be_visible()
    picture(page, "upload_name")


def test_a_file_is_told_of_again_where_the_page_has_not_heard(page: Page, start_server: StartServer, tmp_path: Path) -> None:
    lost: list[bytes] = []

    def pass_on(route: WebSocketRoute) -> None:
        server = route.connect_to_server()

        def from_page(message: str | bytes) -> None:
            if not lost and isinstance(message, bytes) and b"again.csv" in message:
                lost.append(message)
            else:
                server.send(message)

        route.on_message(from_page)

    page.route_web_socket("**/_stcore/stream", pass_on)
    (tmp_path / "again.csv").write_text("text,label\n" + "a cat,x\na dog,y\n" * 20)
    page.goto(start_server().url)
    page.get_by_text("Upload", exact=True).click()
    page.locator("input[type=file]").first.set_input_files(tmp_path / "again.csv")
    expect(page.get_by_role("button", name="Score the samples")).to_be_visible()
    assert len(lost) == 1
