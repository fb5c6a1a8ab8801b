"""Several reviewers decide at once in a server that is killed: nothing is lost, given out twice or overtaken unseen."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from streamlit.proto.BackMsg_pb2 import BackMsg
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from app import queues
from app.state import BROWSER_COOKIE
from oga_core.addresses import free_port
from oga_core.review import Selection, arrange_rows, browser_identity, save_view, standing_of
from oga_core.review.decisions import events_where
from oga_core.runs import Run, Workspace, database
from oga_core.serving import Dashboard, serve
from tests.app.conftest import CLASSES, tinted_run

SELECTION = Selection("l1", flagged_only=False)
PATIENCE = 120.0
"""Seconds after which an action that is sent again and again is given up."""
OVERTAKES, UNDOES = 0.05, 0.05
"""Share of the decisions after which a sample of another reviewer is decided on unseen, or the own last decision is undone."""
UNNAMED = 2
"""Reviewers who enter a name only where they are asked for it, and then both the same."""


@dataclass
class Told:
    """What came of a review."""

    reviewers: int
    kills: int
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    asked_for_a_name: int = 0

    @property
    def failed(self) -> list[str]:
        return [*self.lost, *self.twice, *self.unseen]

    def __str__(self) -> str:
        p50, p95 = 1000 * np.quantile(self.seconds, [0.5, 0.95])
        return (
            f"reviewers: {self.reviewers}, kills: {self.kills}, decisions acknowledged: {self.acknowledged:,}, "
            f"lost: {len(self.lost):,}, handed out twice: {len(self.twice):,}, "
            f"decided by two without a conflict: {len(self.unseen):,}, asked for a name: {self.asked_for_a_name}; "
            f"a decision takes p50 {p50:.0f} ms, p95 {p95:.0f} ms"
        )


@dataclass(frozen=True)
class Acknowledged:
    """A decision that the server has called saved."""

    op: str
    identity: str
    sample: str
    action: str
    overtakes: bool = False


class Server:
    """The server of a workspace, which is killed and started again on the same port."""

    def __init__(self, run: Run) -> None:
        self.run, self.port = run, free_port()
        self.dashboard: Dashboard = serve(run.workspace, port=self.port)

    def kill(self) -> None:
        self.dashboard.process.kill()
        self.dashboard.process.wait()
        self.dashboard = serve(self.run.workspace, port=self.port)


class Browser:
    """What a reviewer's browser says to the server, without the browser: a websocket that runs the page, and requests."""

    def __init__(self, port: int, run: Run) -> None:
        self.cookie, self.port, self.run = uuid.uuid4().hex, port, run
        self.identity = browser_identity(self.cookie)
        self.origin = f"http://127.0.0.1:{port}"
        self.socket: ClientConnection | None = None
        self.connection: http.client.HTTPConnection | None = None

    def open_page(self) -> None:
        """Have the page of the review run, by which the server knows its queue; again after the server was killed."""
        self.close()
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.socket = connect(
                    f"ws{self.origin[4:]}/_stcore/stream",
                    origin=Origin(self.origin),
                    subprotocols=[Subprotocol("streamlit")],
                    additional_headers={"Cookie": f"{BROWSER_COOKIE}={self.cookie}"},
                    max_size=None,
                )
                break
            except (OSError, WebSocketException):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        message = BackMsg()
        message.rerun_script.query_string = f"run={self.run.id}"
        message.rerun_script.page_name = "review"
        self.socket.send(message.SerializeToString())
        threading.Thread(target=self._listen, args=(self.socket,), daemon=True).start()

    @staticmethod
    def _listen(socket: ClientConnection) -> None:
        with suppress(WebSocketException, OSError):
            for _ in socket:
                pass

    def close(self) -> None:
        with suppress(WebSocketException, OSError):
            if self.socket is not None:
                self.socket.close()
        self.socket = None

    def post(self, path: str, **sent: Any) -> tuple[int, Any]:
        """Send an action until it is answered; where the queue is no longer known, the page is opened again."""
        body, deadline = json.dumps(sent), time.monotonic() + PATIENCE
        headers = {"Content-Type": "application/json", "Origin": self.origin, "Cookie": f"{BROWSER_COOKIE}={self.cookie}"}
        while True:
            try:
                self.connection = self.connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                self.connection.request("POST", path, body, headers)
                answer = self.connection.getresponse()
                status, content = answer.status, json.loads(answer.read())
                if status != 410:
                    return status, content
                if self.socket is None:
                    self.open_page()
            except (OSError, http.client.HTTPException):
                self.connection = None
                self.close()
            if time.monotonic() > deadline:
                raise TimeoutError(path)
            time.sleep(0.2)


class Review:
    """Reviewers in threads, and what they saw."""

    def __init__(self, told: Told, run: Run, server: Server, decisions: int, seed: int) -> None:
        self.told, self.run, self.server, self.decisions, self.seed = told, run, server, decisions, seed
        self.queue = queues.keep(run, arrange_rows(run, SELECTION, standing_of(run), {})[0], SELECTION).name
        self.lock = threading.Lock()
        self.saved: list[Acknowledged] = []
        self.handed: dict[str, set[str]] = defaultdict(set)
        self.undone: set[str] = set()
        self.errors: list[str] = []

    def reviewer(self, number: int) -> None:
        try:
            self._review(Browser(self.server.port, self.run), number, random.Random(1000 * self.seed + number))
        except Exception as error:
            self.errors.append(f"reviewer {number}: {type(error).__name__}: {error}")

    def _review(self, browser: Browser, number: int, chance: random.Random) -> None:
        browser.open_page()
        if number >= UNNAMED:
            browser.post("/oga/name", name=f"reviewer {number}")
        left = self.decisions
        while left:
            status, found = browser.post("/oga/claim", run=self.run.id, queue=self.queue, place=0)
            if status != 200:
                raise RuntimeError(found)
            with self.lock:
                for item in found["samples"]:
                    self.handed[item["id"]].add(browser.identity)
            for item in found["samples"][: max(1, chance.randrange(len(found["samples"]) + 1))]:
                self._decide(browser, item["row"], item["id"], chance.choice(("keep", "remove", "unsure")))
                left -= 1
                if left and chance.random() < OVERTAKES and (other := self._of_another(browser, chance)):
                    row = int(self.run.rows_of([other.sample])[0])
                    action = chance.choice([a for a in ("keep", "remove", "unsure") if a != other.action])
                    self._decide(browser, row, other.sample, action, overtakes=True)
                    left -= 1
                elif chance.random() < UNDOES:
                    self._undo(browser)
                if not left:
                    break
        browser.close()

    def _of_another(self, browser: Browser, chance: random.Random) -> Acknowledged | None:
        """A decision of another reviewer that this one has not seen."""
        with self.lock:
            others = [d for d in self.saved if d.identity != browser.identity and d.sample not in self.undone and not d.overtakes]
        return chance.choice(others) if others else None

    def _decide(self, browser: Browser, row: int, sample: str, action: str, *, overtakes: bool = False) -> None:
        op = uuid.uuid4().hex
        sent = {"run": self.run.id, "queue": self.queue, "op": op, "action": action, "label": "", "samples": [[row, 0]]}
        began = time.perf_counter()
        status, found = browser.post("/oga/decide", **sent)
        seconds = time.perf_counter() - began
        if named := status == 428:
            browser.post("/oga/name", name="sam")
            status, found = browser.post("/oga/decide", **sent)
        if status != 200:
            raise RuntimeError(found)
        with self.lock:
            self.told.asked_for_a_name += named
            self.told.seconds.append(seconds)
            self.saved.append(Acknowledged(op, browser.identity, sample, action, overtakes))

    def _undo(self, browser: Browser) -> None:
        with self.lock:
            own = [d for d in self.saved if d.identity == browser.identity][-1]
            self.undone.add(own.sample)
        status, found = browser.post("/oga/undo", run=self.run.id, queue=self.queue, op=uuid.uuid4().hex)
        if status != 200 or found["ids"] not in ([own.sample], []):  # sent again after a kill it counts once, and names none
            self.told.lost.append(f"undo of {own.sample} took back {found}")

    def check(self) -> None:
        """Compare what was acknowledged with the log."""
        told = self.told
        told.acknowledged = len(self.saved)
        told.lost += self.errors
        with database.reading(self.run.workspace.database) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            rows = connection.execute("SELECT batch, identity, sample_id, action FROM events")
            logged = {row[0]: tuple(row[1:]) for row in rows}
            events = events_where(connection)
        told.lost += [f"{d} is not in the log" for d in self.saved if logged.get(d.op) != (d.identity, d.sample, d.action)]
        told.twice += [sample for sample, to in self.handed.items() if len(to) > 1 and sample not in self.undone]
        stands, by = standing_of(Workspace(self.run.workspace.path).run(self.run.id)).by_id, defaultdict(set)
        for event in events:
            by[event.sample_id].add(event.identity)
        two = [sample for sample, identities in by.items() if len(identities) > 1 and sample not in self.undone]
        told.unseen += [sample for sample in two if not stands[sample].conflict]


def review(
    reviewers: int,
    decisions: int,
    kills: int,
    folder: Path,
    seed: int = 0,
    after_each: Callable[[int], object] = lambda number: None,
) -> Told:
    """Have several reviewers decide at once, each so many times, and kill the server so often meanwhile."""
    run = tinted_run(Workspace(folder), CLASSES, reviewers * (decisions + 8) + 200, 50, 8)
    save_view(run, SELECTION)
    told = Told(reviewers, kills)
    server = Server(run)
    work = Review(told, run, server, decisions, seed)
    threads = [threading.Thread(target=work.reviewer, args=(n,), daemon=True) for n in range(reviewers)]
    try:
        for thread in threads:
            thread.start()
        for n in range(1, kills + 1):
            while len(work.saved) < n * reviewers * decisions / (kills + 1) and any(t.is_alive() for t in threads):
                time.sleep(0.05)
            server.kill()
            after_each(n)
        for thread in threads:
            thread.join()
    finally:
        server.dashboard.stop()
    work.check()
    return told
