"""The live page in a real browser: headless Chromium against the program itself.

    page.py POSEWIRE [FOLDER]      FOLDER: where to put the screenshots

Needs selenium (PyPI) and Debian's chromium and chromium-driver. What must hold: the page comes from the
program alone, the person and its picture are drawn and move, numbers appear, a fault is named, the end is
named, the browser's console stays empty.
"""

import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars""".split()
# Colours that are drawn, and a fingerprint of them.
CANVAS = """
const canvas = document.getElementById(arguments[0]);
if (!canvas.width) return {colours: 0, mark: 0};
const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
const colours = new Set();
let mark = 0;
for (let i = 0; i < pixels.length; i += 4) {
  const value = (pixels[i] << 16) | (pixels[i + 1] << 8) | pixels[i + 2];
  if (pixels[i + 3]) colours.add(value);
  mark = (Math.imul(mark, 31) + value) | 0;
}
return {colours: colours.size, mark};
"""


class Program:
    """posewire with its page's address, as its log tells it."""

    def __init__(self, *args):
        self.process = subprocess.Popen(args, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.said = []
        self.address = None
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.search(r"live page: (http://\S+)", line):
                self.address = found[1]
                break
        assert self.address, "no page: " + "".join(self.said)

    def end(self):
        self.process.terminate()
        try:
            _, rest = self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        assert "panicked" not in rest, rest


def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in FLAGS:
        options.add_argument(flag)
    options.add_argument("--user-data-dir=" + tempfile.mkdtemp())
    options.add_argument("--window-size=1440,1000")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))


def until(what, condition, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds} s")


def hosts(driver):
    """Whom the browser asked."""
    asked = set()
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.add(message["params"]["request"]["url"])
    return asked


def text(driver, name):
    return driver.execute_script("return document.getElementById(arguments[0]).textContent", name)


def faults(driver):
    return driver.execute_script("return [...document.querySelectorAll('#faults li')].map(l => l.dataset.fault)")


def media(driver, scheme):
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})


def main():
    posewire = sys.argv[1]
    folder = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
    if folder:
        folder.mkdir(parents=True, exist_ok=True)

    def shot(driver, name):
        if folder:
            time.sleep(0.4)
            driver.save_screenshot(str(folder / f"{name}.png"))

    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 0))
    target = f"udp://127.0.0.1:{listener.getsockname()[1]}"
    driver = browser()
    try:
        program = Program(posewire, "demo", "--seconds", "40", "--view", "127.0.0.1:0", "--publish", target)
        driver.get(program.address)
        until("it runs", lambda: text(driver, "state") == "running")
        until("frames per second", lambda: re.fullmatch(r"\d+\.\d", text(driver, "fps")) and float(text(driver, "fps")) > 0)
        until("a person", lambda: text(driver, "persons") == "1")
        until("the lens", lambda: "calibrated at 640×480" in text(driver, "counts"))
        until("its row", lambda: driver.execute_script("return document.querySelectorAll('#people tr').length") == 1)
        for name, least in (("picture", 100), ("scene", 5), ("map", 3), ("strip", 3)):
            first = until(f"{name} is drawn", lambda n=name, m=least: (c := driver.execute_script(CANVAS, n))["colours"] >= m and c)
            until(f"{name} moves", lambda n=name, f=first: driver.execute_script(CANVAS, n)["mark"] != f["mark"])
        # The keyboard turns the view, and 0 brings it back.
        view = "return document.activeElement.id"
        driver.execute_script("document.getElementById('scene').focus()")
        assert driver.execute_script(view) == "scene", "the scene can be reached by the keyboard"
        shot(driver, "light")
        media(driver, "dark")
        shot(driver, "dark")
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True})
        shot(driver, "phone")
        wide = driver.execute_script("return document.documentElement.scrollWidth")
        assert wide <= 390, f"the page is {wide} pixels wide on a phone"
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        media(driver, "light")
        # Reading canvases back is what this test does, and slow: that the browser says so is no fault of the page.
        console = [e for e in driver.get_log("browser") if e["level"] in ("SEVERE", "WARNING") and "getImageData" not in e["message"]]
        assert not console, console
        asked = hosts(driver)
        others = [url for url in asked if not url.startswith((program.address, "data:", "blob:", "chrome://"))]
        assert sum(url.startswith(program.address) for url in asked) >= 8 and not others, others
        health = json.load(urllib.request.urlopen(program.address + "healthz"))
        assert health == {"state": "running", "faults": []} or health["state"] == "running", health
        program.end()
        until("the end is named", lambda: faults(driver) == ["sensor-stopped"] and text(driver, "state") == "stopped")
        shot(driver, "ended")

        # A camera that is not there: named, and the page goes on waiting for it.
        program = Program(posewire, "run", "--source", "v4l2:/dev/posewire-no-such-camera", "--view", "127.0.0.1:0", "--publish", target)
        driver.get(program.address)
        until("the fault is named", lambda: "source-gone" in faults(driver))
        assert text(driver, "state") == "degraded"
        assert "not calibrated: 65.0° assumed" in text(driver, "counts"), text(driver, "counts")
        shot(driver, "fault")
        program.end()
    finally:
        driver.quit()
    print("the page is drawn, moves, names its faults and its end, and asks nobody else")


if __name__ == "__main__":
    main()
