"""Every page of the built book, opened in Chromium.

Looks at the site in `build/site/stored` when it was built. `REIDLIB_BOOK=build/site/smoke` names another one and makes
it and the browser mandatory: what is missing is then an error.
"""

import json
import os
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from reidlib.evaluation import rank

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[1]
ASKED = os.environ.get("REIDLIB_BOOK")
SITE = (Path(ASKED) if ASKED else ROOT / "build" / "site" / "stored").resolve()
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if ASKED and not (SITE / "index.html").is_file():
    raise FileNotFoundError(f"REIDLIB_BOOK={ASKED} holds no index.html; build it with `make book`")
if ASKED and not CHROMIUM:
    raise FileNotFoundError("the book is tested in Chromium, which is not installed; apt-get install chromium")

GENERATED = {"genindex.html", "search.html", "prf-prf.html"}
PAGES = [
    str(path.relative_to(SITE))
    for path in sorted(SITE.rglob("*.html"))
    if CHROMIUM and not path.relative_to(SITE).parts[0].startswith("_") and path.name not in GENERATED
]
# The least that must be on a page: tables, images, equations.
LEAST = {
    "index.html": (3, 0, 1),
    "task.html": (0, 5, 4),
    "rerun.html": (2, 0, 0),
    "references.html": (0, 0, 0),
    "nb/data.html": (1, 2, 0),
    "nb/personnet.html": (4, 3, 1),
    "nb/runs.html": (7, 1, 0),
    "nb/midlevel.html": (8, 3, 3),
    "nb/mls.html": (12, 3, 7),
    "nb/casn.html": (15, 8, 6),
    "nb/hagn.html": (15, 8, 5),
    "nb/differences.html": (10, 1, 0),
    "nb/verdict.html": (3, 3, 0),
    "nb/robustness.html": (1, 1, 1),
    "nb/benchmark.html": (3, 1, 3),
    "ethics.html": (1, 0, 0),
}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]
LOOK = """async () => {
    await (window.MathJax && MathJax.startup && MathJax.startup.promise);
    const images = [...document.images];
    await Promise.allSettled(images.map(image => { image.loading = 'eager'; return image.decode(); }));
    const shown = [...document.querySelectorAll('.bd-article .math')];
    return {
        broken: images.filter(image => !image.naturalWidth).map(image => image.src),
        mute: images.filter(image => !image.alt.trim() || /\\.(png|svg)$/.test(image.alt)).map(image => image.src),
        raw: shown.filter(math => !math.querySelector('mjx-container')).map(math => math.textContent),
        errors: [...document.querySelectorAll('mjx-merror, .problematic')].map(item => item.textContent),
        tables: document.querySelectorAll('.bd-article table').length,
        images: document.querySelectorAll('.bd-article img').length,
        equations: shown.length,
        width: document.documentElement.scrollWidth,
        links: [...document.querySelectorAll('a[href]')].map(link => link.href),
    };
}"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a line per request."""

    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


# Its script may arrive after the network has been idle, on a machine that is busy.
TYPESETTER = "() => !document.querySelector('.math') || (window.MathJax && MathJax.startup && MathJax.startup.promise)"


@pytest.mark.parametrize("name", PAGES)
def test_page(name, address, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    said, asked, refused = [], [], []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.on("response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None)
    page.goto(address + name, wait_until="networkidle")
    page.wait_for_function(TYPESETTER)
    seen = page.evaluate(LOOK)
    page.close()

    assert said == [], "errors in the console"
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == [], "outside requests"
    assert refused == []
    assert seen["broken"] == [], "images that do not load"
    assert seen["mute"] == [], "images without an alternative text"
    assert seen["raw"] == [], "equations that are not typeset"
    assert seen["errors"] == []
    assert seen["width"] <= 1280, "the page scrolls sideways"
    counts = (seen["tables"], seen["images"], seen["equations"])
    assert all(count >= least for count, least in zip(counts, LEAST.get(name, (0, 0, 0)), strict=True)), counts
    inside = {url.split("#")[0].split("?")[0] for url in seen["links"] if url.startswith(address)}
    lost = [url for url in inside if not (SITE / (url.removeprefix(address) or "index.html")).exists()]
    assert lost == [], "links that lead nowhere"


@pytest.mark.parametrize("name", LEAST if PAGES else [])
def test_page_is_there(name):
    assert name in PAGES


@pytest.mark.parametrize("notebook", sorted(SITE.glob("_sources/nb/*.ipynb")), ids=lambda path: path.stem)
def test_every_cell_of_a_page_ran(notebook):
    code = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["id"] for cell in code if cell["execution_count"] is None] == []
    assert [cell["id"] for cell in code for output in cell["outputs"] if output["output_type"] == "error"] == []


def test_the_worked_example_of_the_task_page():
    """The page computes by hand: AP 0.722 by steps, 0.678 by trapezoids, INP 0.5."""
    people, cameras = [1, 1, 2, 1, 3, -1, 4, 1, 5, 6], [2, 1, 2, 3, 2, 2, 4, 2, 3, 3]
    scores = {}
    for protocol in ("market1501", "market1501-trapezoid"):
        found = rank([list(range(10))], [1], people, [1], cameras, protocol=protocol)
        scores[protocol] = round(float(found.mean_ap), 3)
        assert float(found.mean_inp) == pytest.approx(0.5)
    assert scores == {"market1501": 0.722, "market1501-trapezoid": 0.678}
