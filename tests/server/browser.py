"""Headless Chromium by the DevTools protocol over a pipe: real clicks and keys."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import time

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
PATIENCE = 20.0  # seconds


class Browser:
    """One page of one browser. Close it."""

    def __init__(self, profile) -> None:
        to_browser, from_browser = os.pipe(), os.pipe()

        def connect():  # Chromium reads at 3 and writes at 4
            os.dup2(to_browser[0], 33)
            os.dup2(from_browser[1], 34)
            os.dup2(33, 3)
            os.dup2(34, 4)

        words = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            words, preexec_fn=connect, close_fds=False, stderr=subprocess.DEVNULL
        )
        os.close(to_browser[0])
        os.close(from_browser[1])
        self._out = os.fdopen(to_browser[1], "wb", buffering=0)
        self._in = os.fdopen(from_browser[0], "rb")
        self._numbers, self._session, self.events = itertools.count(1), None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._out.close()
        self._in.close()

    def call(self, method, **parameters):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self.events.append(answer)

    def _message(self):
        parts = []
        while (letter := self._in.read(1)) != b"\0":
            assert letter, "the browser has gone"
            parts.append(letter)
        return json.loads(b"".join(parts))

    def open(self, address, *, width=1280, height=900, dark=False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = "dark" if dark else "light"
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== ''")

    def js(self, expression):
        found = self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, condition) -> None:
        """Waits until a condition is true on the page."""
        end = time.monotonic() + PATIENCE
        while not self.js(condition):
            assert time.monotonic() < end, (
                condition,
                self.js("document.body.innerText"),
            )
            time.sleep(0.02)

    def text(self, selector) -> str:
        return self.js(f"document.querySelector({json.dumps(selector)}).innerText")

    def click(self, selector) -> None:
        """A real click in the middle of what is found, which must be in sight."""
        place = self.js(
            f"""(() => {{
              const found = document.querySelector({json.dumps(selector)});
              found.scrollIntoView({{ block: "center" }});
              const box = found.getBoundingClientRect();
              return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"""
        )
        where = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mousePressed", **where)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", **where)

    def key(self, name, text="") -> None:
        about = {"key": name, "code": name if len(name) > 1 else f"Key{name.upper()}"}
        if name == "Enter":
            about |= {"windowsVirtualKeyCode": 13, "text": "\r"}
        elif text:
            about["text"] = text
        self.call("Input.dispatchKeyEvent", type="keyDown", **about)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=name, code=about["code"])

    def type(self, text) -> None:
        self.call("Input.insertText", text=text)

    def screenshot(self, path) -> None:
        found = self.call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=True
        )
        path.write_bytes(base64.b64decode(found["data"]))

    def complaints(self) -> list[str]:
        """Errors of the page's scripts, what its policy blocked, who else was asked."""
        self.js("0")
        found = []
        for event in self.events:
            kind, about = event.get("method"), event.get("params", {})
            if kind == "Runtime.exceptionThrown":
                found.append(str(about["exceptionDetails"]))
            elif kind == "Log.entryAdded" and about["entry"]["level"] == "error":
                found.append(f"{about['entry']['text']} {about['entry'].get('url')}")
        return found

    def asked(self) -> set[str]:
        """Hosts of all requests so far."""
        return {
            event["params"]["request"]["url"].split("/")[2]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
            and event["params"]["request"]["url"].startswith("http")
        }
