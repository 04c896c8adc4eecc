"""The page of `beingh annotate` in a headless Chromium, with nothing but keys."""

import threading
import time

import pytest

pytest.importorskip("rosbags")
from annotate_support import CONTRACT, write_bag
from browser_support import Browser, needs_browser

from beingh_core.data.annotate import labels as files
from beingh_core.data.annotate.server import PageServer
from beingh_core.data.annotate.workbench import Workbench
from beingh_core.data.bag_files import open_bag
from beingh_core.errors import BeingHError

TEXT = "#segments li[aria-selected=true] .text"


class Session:
    """A served folder with two bags, and the browser's window on it."""

    def __init__(self, folder, browser):
        self.folder, self.browser = folder, browser
        self.bench = Workbench([folder / "one", folder / "two"], CONTRACT, open_bag)
        for name in self.bench.names:
            self.bench.propose(name)
        self.server = None
        self.serve()

    def serve(self, port=0, token=None):
        self.server = PageServer(self.bench, port=port)
        self.server.token = token or self.server.token
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/?token={self.server.token}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def end(self):
        self.server.shutdown()
        self.server.server_close()

    def open(self):
        self.browser.open(self.url)
        self.browser.until("return document.querySelectorAll('#segments li').length")

    def press(self, *keys):
        self.browser.press(*keys)

    def labels(self, name="one"):
        return files.load(self.folder / f"{name}.labels.yaml")

    def saved(self, condition, name="one"):
        """Waits until the file fulfils a condition."""
        end, found = time.monotonic() + 30, False
        while not found:
            assert time.monotonic() < end, (self.browser.text("#banner"), self.browser.log())
            time.sleep(0.02)
            try:
                found = condition(self.labels(name))
            except BeingHError:  # broken or removed by the test
                found = False

    def banner(self, text):
        self.browser.until("return document.querySelector('#banner').innerText.includes(arguments[0])", text)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    needs_browser()
    with Browser(tmp_path_factory.mktemp("browser")) as found:
        # The page looks at its file every 2 s; here ten times as often.
        found.before_pages("const real = setTimeout; window.setTimeout = (act, ms) => real(act, ms / 10)")
        yield found


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bags")
    write_bag(folder / "one")
    write_bag(folder / "two", shade=100, success="", marks=())
    return folder


@pytest.fixture
def session(recorded, browser):
    for path in recorded.glob("*.yaml"):
        path.unlink()
    found = Session(recorded, browser)
    found.open()
    yield found
    browser.open("about:blank")
    found.end()
    found.bench.close()


def states(labels):
    return [segment.state for segment in labels.segments]


def test_accept_reject_and_edit_with_keys_only(session):
    page = session.browser
    assert page.text("#name") == "one" and page.text(TEXT) == "wait"
    session.press("x", "a")  # each goes on to the next
    session.saved(lambda labels: states(labels)[:3] == ["rejected", "accepted", "proposed"])
    assert page.text(TEXT) == "grasp the red cube"
    session.press("Home", "e")
    session.press(*"close the hand, a x u", "Enter")
    session.saved(lambda labels: labels.segments[2].text == "close the hand, a x u")
    assert page.text(TEXT) == "close the hand, a x u", "the key that ends the text does nothing else"
    assert session.labels().segments[2].by == "person" and states(session.labels())[2] == "accepted"
    session.press("e", *"nonsense", "Escape", "ArrowDown", "b")
    session.saved(lambda labels: labels.success.value is False)
    assert session.labels().success.state == "accepted" and session.labels().segments[2].text == "close the hand, a x u"
    session.press("n", "g", "Shift+a")
    session.saved(lambda labels: labels.success.value is True and labels.count("accepted") == len(labels.segments) - 1)
    page.until("return document.querySelector('#status').innerText == 'saved'")
    assert page.log() == []


def test_a_text_that_is_left_is_kept_and_not_accepted(session):
    before = session.labels()
    session.press("e")
    session.browser.run("document.activeElement.blur()")
    session.press("g", "ArrowDown", "e", *"go")
    session.browser.run("document.activeElement.blur()")
    session.saved(lambda labels: labels.segments[1].text == "go")
    assert states(session.labels()) == states(before) and session.labels().segments[0] == before.segments[0]
    session.press("e", *[" "] * 3, "Enter")
    session.banner("needs a text")
    assert session.labels().segments[1].text == "go"


def test_borders_split_and_merge(session):
    before = session.labels()
    session.press("ArrowDown", "ArrowDown", *["ArrowRight"] * 2, "[")
    session.saved(lambda labels: labels.segments[2].start_s != before.segments[2].start_s)
    # One press goes to the next picture (10 a second), the second one further.
    moved = session.labels().segments[2].start_s
    assert 0.1 < moved - before.segments[2].start_s <= 0.2 + 1e-6 and abs(moved * 10 - round(moved * 10)) < 1e-6
    session.press("ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", *["Shift+ArrowRight"], "]")
    session.saved(lambda labels: labels.segments[3].start_s == round(moved + 1, 3))
    session.press("Home", "Shift+ArrowRight", "Enter", "ArrowLeft", "s")
    session.saved(lambda labels: len(labels.segments) == len(before.segments) + 1)
    assert session.labels().segments[1].text == session.labels().segments[0].text
    session.press("ArrowUp", "m")
    session.saved(lambda labels: len(labels.segments) == len(before.segments))
    session.press("Home", "[")
    session.banner("begins with the episode")
    session.press("End", "[")
    session.banner("begins with the episode")
    session.press("ArrowDown", "End", "[")
    session.banner("swallow a neighbour")


def test_undo_and_redo(session):
    session.press("a", "x", "g")
    session.saved(lambda labels: labels.success.state == "accepted")
    session.press("u", "u", "Control+z")
    session.saved(lambda labels: states(labels) == ["proposed"] * 6 and labels.success.state == "proposed")
    session.press("u")
    session.banner("nothing more")
    session.press("r", "r", "Control+y")
    session.saved(lambda labels: labels.success.state == "accepted" and states(labels)[:2] == ["accepted", "rejected"])


def test_pictures_follow_the_cursor(session):
    page = session.browser
    shade = (
        "const c = document.createElement('canvas'), i = document.querySelectorAll('#views img')[arguments[0]];"
        "if (!i.naturalWidth) return -1; c.width = i.naturalWidth; c.height = i.naturalHeight; const g = c.getContext('2d');"
        "g.drawImage(i, 0, 0); return g.getImageData(5, 5, 1, 1).data[0]"
    )
    near = f"const found = (() => {{ {shade} }})(); return Math.abs(found - arguments[1]) <= 3 || (found == 0 && arguments[1] == 0)"
    page.until(near, 0, 0)
    session.press(*["Shift+ArrowRight"] * 3)
    page.until(near, 0, 60)  # 20 a second
    page.until(near, 1, 59)  # of the other camera, whose picture is 0.05 s older
    session.press("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft")
    page.until(near, 0, 64)
    session.press("End")
    page.until(near, 0, 138)
    session.press("Home", " ")
    page.until("return parseFloat(document.querySelector('figcaption').innerText.split(' ').slice(-2)[0]) > 0.3")
    session.press(" ")


def test_another_episode_and_back(session):
    page = session.browser
    session.press("a", "PageDown")
    page.until("return document.querySelector('#name').innerText == 'two'")
    session.press("PageDown")
    session.banner("no further episode")
    session.press("g")
    session.saved(lambda labels: labels.success.state == "accepted", "two")
    assert session.labels("one").success.state == "proposed"
    session.press("PageUp")
    page.until("return document.querySelector('#name').innerText == 'one'")
    session.press("u")
    session.saved(lambda labels: states(labels)[0] == "proposed")
    assert session.labels("two").success.state == "accepted"
    session.open()
    assert page.text("#name") == "one", "a page that is loaded again shows the first that is not done"


def test_two_tabs_lose_nothing(session):
    page = session.browser
    first, second = page.new_tab()
    try:
        session.open()
        session.press("a")
        session.saved(lambda labels: states(labels)[0] == "accepted")
        page.go_to(first)
        # Before it has looked at the file again, or after: either it asks, or the other tab's word was there already.
        session.press("ArrowDown", "ArrowDown", "x")

        def kept(labels):
            if "press t" in page.text("#banner"):
                session.press("k")
            return states(labels)[2] == "rejected"

        session.saved(kept)
        aside = list(session.folder.glob("one.labels.replaced-*.yaml"))
        found = [session.labels(), *map(files.load, aside)]
        assert any(states(labels)[0] == "accepted" for labels in found)
    finally:
        page.go_to(second)
        page._call("DELETE", f"{page._session}/window")
        page.go_to(first)


def edited_outside(session, content):
    """Changes the file, and makes the page meet that only when it saves."""
    session.browser.run("window.setTimeout = () => 0")
    time.sleep(0.4)  # the last look, which was due already
    (session.folder / "one.labels.yaml").write_bytes(content)


def test_a_file_that_changed_is_never_written_over(session):
    page, path = session.browser, session.folder / "one.labels.yaml"
    page.until("return document.querySelector('#name').innerText == 'one'")
    theirs = files.to_bytes(session.labels().model_copy(update={"task": "theirs"}))
    edited_outside(session, theirs)
    session.press("x")
    session.banner("press t")
    session.press("a", "g")  # goes on, unsaved
    assert path.read_bytes() == theirs and page.text("#status") == "not saved"
    session.press("t")
    page.until("return document.querySelector('#status').innerText == 'taken over'")
    assert path.read_bytes() == theirs
    session.press("u")  # mine again
    session.saved(lambda labels: states(labels)[:2] == ["rejected", "accepted"] and labels.success.state == "accepted")
    edited_outside(session, theirs)
    session.press("b")
    session.banner("press t")
    session.press("k")
    session.saved(lambda labels: labels.success.value is False)
    assert (session.folder / "one.labels.replaced-1.yaml").read_bytes() == theirs
    edited_outside(session, b"segments: [")
    session.press("g")
    session.banner("cannot be read")
    session.press("t")
    assert path.read_bytes() == b"segments: ["
    session.press("k")
    session.saved(lambda labels: labels.success.value is True)
    assert (session.folder / "one.labels.replaced-2.yaml").read_bytes() == b"segments: ["


def test_a_change_on_the_disk_is_shown(session):
    changed = session.labels().model_copy(
        update={"task": "x", "success": files.SuccessLabel(value=None, because="outside")}
    )
    files.write(session.folder / "one.labels.yaml", changed)
    session.banner("changed elsewhere")
    assert "success not known" in session.browser.text("#verdict")
    (session.folder / "one.labels.yaml").write_text("[")
    session.banner("cannot be read")
    (session.folder / "one.labels.yaml").unlink()
    session.banner("is gone")
    session.press("g")
    session.saved(lambda labels: labels.success.value is True)


def test_a_server_that_goes_away_loses_nothing(session):
    port, token = session.server.server_address[1], session.server.token
    session.end()
    session.press("a", "x")
    session.banner("does not answer")
    assert session.browser.text("#status") == "not saved"
    session.serve(port, token)
    session.saved(lambda labels: states(labels)[:2] == ["accepted", "rejected"])
    session.browser.until("return document.querySelector('#status').innerText == 'saved'")


def test_nothing_is_asked_of_anybody_else_and_a_wrong_token_shows_why(session):
    page = session.browser
    asked = page.run("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert asked and all(address.startswith(session.url.split("?")[0]) for address in asked)
    page.open(session.url + "x")
    assert "with its token" in page.text("body")


def test_a_text_is_shown_as_text(session):
    path = session.folder / "one.labels.yaml"
    evil = '<img src=x onerror="document.title=1"><b>'
    labels = session.labels()
    first = labels.segments[0].model_copy(update={"text": evil})
    files.write(path, labels.model_copy(update={"segments": (first, *labels.segments[1:])}))
    session.open()
    assert session.browser.text(TEXT) == evil and session.browser.run("return document.title") == "annotate"
