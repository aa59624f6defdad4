"""Drives Chromium for a test: one JSON command a line on standard input, one JSON answer a line on standard output."""

import json
import sys

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

# Rules of axe-core whose findings count.
BAD = ("serious", "critical")


def main(playwright):
    browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
    page = browser.new_context(viewport={"width": 1180, "height": 900}).new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def open_page(url):
        complaints.clear()
        page.goto(url)

    def picture(scheme, width, file):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        page.screenshot(path=file, full_page=True)
        wide = page.evaluate("document.documentElement.scrollWidth")
        page.set_viewport_size({"width": 1180, "height": 900})
        return wide

    def axe(scheme):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page).response["violations"]
        return [
            {"rule": one["id"], "impact": one["impact"], "nodes": [node["html"][:200] for node in one["nodes"][:3]]}
            for one in found
            if one["impact"] in BAD
        ]

    commands = {
        "open": open_page,
        "value": lambda script: page.evaluate(script),
        "click": lambda selector: page.click(selector, timeout=30_000),
        "picture": picture,
        "axe": axe,
        # A refused action shows as a failed request: that is no mistake of the page.
        "complaints": lambda: [text for text in complaints if "status of 4" not in text],
    }
    for line in sys.stdin:
        command = json.loads(line)
        name = command.pop("do")
        if name == "end":
            break
        try:
            answer = {"value": commands[name](**command)}
        except Exception as error:  # Whatever it was, the test is to say it.
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)
    browser.close()


with sync_playwright() as started:
    main(started)
