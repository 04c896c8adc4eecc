"""A headless Chromium that is driven through chromedriver's own protocol (W3C WebDriver), with nothing but the library of Python."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.request

import pytest

KEYS = {
    "ArrowLeft": "\ue012", "ArrowUp": "\ue013", "ArrowRight": "\ue014", "ArrowDown": "\ue015", "Home": "\ue011",
    "End": "\ue010", "PageUp": "\ue00e", "PageDown": "\ue00f", "Enter": "\ue007", "Escape": "\ue00c", "Shift": "\ue008",
    "Control": "\ue009",
}  # fmt: skip
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


def needs_browser():
    """Skips where there is no browser."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} is not on the PATH")


class Browser:
    """One window; use it as a context manager."""

    def __init__(self, folder, size=(1400, 900)):
        self._driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"TMPDIR": str(folder), "HOME": str(folder)}, start_new_session=True,
        )  # fmt: skip
        self._session = ""
        try:
            for line in self._driver.stdout:
                if "started successfully on port" in line:
                    port = int(line.split("port")[-1].strip(" .\n"))
                    break
            self._url = f"http://127.0.0.1:{port}"
            flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                     f"--window-size={size[0]},{size[1]}", f"--user-data-dir={folder}/profile"]  # fmt: skip
            options = {"args": flags, "binary": shutil.which("chromium")}
            wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
            self._session = "/session/" + self._call("POST", "/session", {"capabilities": wanted})["sessionId"]
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self._session:
            self._call("DELETE", self._session)
        self._driver.terminate()
        self._driver.wait(10)
        self._driver.stdout.close()

    def open(self, url):
        self._call("POST", f"{self._session}/url", {"url": url})

    def before_pages(self, script):
        """Runs a script in every page before its own."""
        command = {"cmd": "Page.addScriptToEvaluateOnNewDocument", "params": {"source": script}}
        self._call("POST", f"{self._session}/goog/cdp/execute", command)

    def run(self, script, *arguments):
        """What `return ...` gives in the page."""
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": list(arguments)})

    def press(self, *keys):
        """Presses keys one after another, by their names; `Shift+a` holds the first."""
        actions = []
        for key in keys:
            parts = [KEYS.get(part, part) for part in (key.split("+") if len(key) > 1 else [key])]
            actions += [{"type": "keyDown", "value": part} for part in parts]
            actions += [{"type": "keyUp", "value": part} for part in reversed(parts)]
        self._call("POST", f"{self._session}/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0])?.innerText", selector)

    def until(self, script, *arguments, seconds=30.0):
        """Waits until a script returns something true; returns it."""
        end = time.monotonic() + seconds
        while True:
            found = self.run(script, *arguments)
            if found:
                return found
            if time.monotonic() > end:
                shown = self.run("return document.body.innerText")
                raise AssertionError(f"not within {seconds} s: {script} {arguments}\n{shown}\n{self.log()}")
            time.sleep(0.03)

    def log(self):
        """What the page's console shows."""
        return [entry["message"] for entry in self._call("POST", f"{self._session}/se/log", {"type": "browser"})]

    def picture(self):
        """The window as PNG."""
        return base64.b64decode(self._call("GET", f"{self._session}/screenshot"))

    def new_tab(self):
        """Opens a tab, goes to it, and returns the handles of (the one before, the new one)."""
        before = self._call("GET", f"{self._session}/window")
        handle = self._call("POST", f"{self._session}/window/new", {"type": "tab"})["handle"]
        self.go_to(handle)
        return before, handle

    def go_to(self, handle):
        self._call("POST", f"{self._session}/window", {"handle": handle})

    def _call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data=data, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()[:2000]) from None
