"""The exported page as its visitors meet it, in a headless Chromium."""

import base64
import functools
import http.server
import io
import shutil
import threading

import numpy as np
import pytest
from PIL import Image

from tests.export.conftest import random_generator, random_image
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.export import tflite, tiles, web, web_runtime
from tf_deepdeblur.export.bundle import metadata
from tf_deepdeblur.export.web_server import make_server
from tf_deepdeblur.inference.deblurrer import Deblurrer

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE = 60_000  # milliseconds, for a machine that does other work as well


@pytest.fixture(scope="module")
def tiles_folder(tmp_path_factory):
    """Of a network at half the resolution, like the one that ships."""
    generator = random_generator(scale=0.08, global_residual=True, space_to_depth=2)
    ranges = tflite.calibration_ranges(generator, [random_image(48, 64)[None]])
    folder = tmp_path_factory.mktemp("page") / "tiles_int8"
    tiles.export_tiles(generator, folder, metadata(generator), "int8", ranges)
    return folder


@pytest.fixture(scope="module")
def site(tiles_folder):
    """The exported page's folder."""
    try:
        runtime = web_runtime.read_runtime()
    except InputError as error:
        pytest.skip(f"LiteRT.js cannot be had: {error}")
    web.export_web(tiles_folder, tiles_folder.parent / "web", runtime, "tiny")
    return tiles_folder.parent / "web"


@pytest.fixture(scope="module")
def serve(site):
    """Serves the page in a thread; returns its address."""
    servers = []

    def start(server):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with api.sync_playwright() as playwright:
        # CI is root in a container, where Chromium has no sandbox. Its own services would ask other hosts.
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])


class Visitor:
    """Somebody with the page open, and what the browser had to complain about."""

    def __init__(self, browser, url, **device):
        self.page = browser.new_page(accept_downloads=True, **device)
        self.complaints = []
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._look_at(request.url, url))
        self.page.goto(url)
        self.page.wait_for_selector("html[data-accelerator]", state="attached")

    def _look_at(self, asked, url):
        if not asked.startswith((url, f"blob:{url}")):
            self.complaints.append(f"a request to {asked}")

    def choose(self, *files):
        """Chooses (name, content) pairs."""
        kinds = {"png": "image/png", "jpg": "image/jpeg"}
        self.page.set_input_files(
            "#files", [{"name": name, "mimeType": kinds[name[-3:]], "buffer": content} for name, content in files]
        )

    def download(self, button="#png"):
        """Waits for the photo that is shown; returns the name and the pixels that the button saves."""
        with self.page.expect_download() as download:
            self.page.click(button)
        return download.value.suggested_filename, np.asarray(Image.open(download.value.path()))

    def state(self):
        return self.page.inner_text("#state")


@pytest.fixture(scope="module")
def visitor_of_all(browser, site, serve):
    return Visitor(browser, serve(make_server(site)))


@pytest.fixture
def visitor(visitor_of_all):
    """One visitor for all tests, as loading the page takes seconds."""
    yield visitor_of_all
    assert visitor_of_all.complaints == []


def encoded(image, **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, **{"format": "PNG", **options})
    return file.getvalue()


def test_several_photos_have_pythons_pixels(visitor, tiles_folder):
    assert visitor.page.get_attribute("html", "data-threads") != "1"
    images = {f"holiday.{side}.png": random_image(side, 517 if side > 99 else side + 14) for side in (1, 37, 300)}
    visitor.choose(*((name, encoded(image)) for name, image in images.items()))
    restore = Deblurrer.load(tiles_folder)
    for name, image in images.items():
        visitor.page.click(f'#photos button[title="{name}"]')
        saved_as, restored = visitor.download()
        assert saved_as == name.replace(".png", "-restored.png")
        np.testing.assert_array_equal(restored, restore(image))


def test_a_dropped_photo(visitor, tiles_folder):
    image = random_image(20, 30)
    data = visitor.page.evaluate_handle(
        """base64 => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
            transfer.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
            return transfer;
        }""",
        base64.b64encode(encoded(image)).decode(),
    )
    visitor.page.dispatch_event("#drop", "drop", {"dataTransfer": data})
    visitor.page.wait_for_selector("#actions:visible")
    assert visitor.page.inner_text("#name") == "dropped.png"
    np.testing.assert_array_equal(visitor.download()[1], Deblurrer.load(tiles_folder)(image))


def test_the_slider(visitor):
    visitor.choose(("slider.png", encoded(random_image(60, 80))))
    visitor.page.wait_for_selector("#handle:visible")
    value = lambda: float(visitor.page.get_attribute("#handle", "aria-valuenow"))  # noqa: E731
    assert value() == 50
    visitor.page.focus("#handle")
    for key, expected in (("ArrowRight", 52), ("PageDown", 42), ("End", 100), ("Home", 0)):
        visitor.page.keyboard.press(key)
        assert value() == expected
    box = visitor.page.locator("#pictures").bounding_box()
    visitor.page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 5)
    visitor.page.mouse.down()
    visitor.page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 9)
    visitor.page.mouse.up()
    assert abs(value() - 25) <= 1
    clip = visitor.page.evaluate("getComputedStyle(document.querySelector('#before')).clipPath")
    assert "75" in clip


def test_single_pixels(visitor):
    visitor.choose(("zoom.png", encoded(random_image(1500, 20))))
    visitor.page.wait_for_selector("#actions:visible")
    height = lambda: visitor.page.locator("#after").bounding_box()["height"]  # noqa: E731
    assert height() < 1000
    visitor.page.click("#zoom")
    assert visitor.page.get_attribute("#zoom", "aria-pressed") == "true"
    assert height() == 1500


def test_a_jpeg_file_of_the_same_picture(visitor):
    rows, columns = np.mgrid[:64, :96]
    visitor.choose(("soft.jpg", encoded(np.stack([rows * 2, columns, rows + columns], -1).astype(np.uint8))))
    _, restored = visitor.download()
    name, saved = visitor.download("#jpeg")
    assert name == "soft-restored.jpg"
    # The tiny network makes noise of single pixels, which JPEG does not keep.
    blocks = [image.reshape(8, 8, 12, 8, 3).mean((1, 3)) for image in (restored, saved)]
    assert np.abs(blocks[0] - blocks[1]).max() < 10


def test_a_photo_is_turned_as_its_exif_data_say(visitor, tiles_folder):
    pixels = np.kron(random_image(3, 4), np.ones((16, 16, 1), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    jpeg = encoded(pixels, format="JPEG", exif=exif, quality=100, subsampling=0)
    visitor.choose(("portrait.jpg", jpeg))
    restored = visitor.download()[1].astype(int)
    upright = np.rot90(np.asarray(Image.open(io.BytesIO(jpeg))), -1)
    assert restored.shape == (64, 48, 3)
    assert np.abs(restored - Deblurrer.load(tiles_folder)(upright)).mean() < 1


def test_stopping_while_it_works_and_before_its_turn(visitor):
    large = encoded(np.full((3000, 4000, 3), 90, np.uint8), compress_level=1)
    visitor.choose(("large.png", large), ("waits.png", encoded(random_image(9, 9))))
    for name in ("waits.png", "large.png"):
        visitor.page.click(f'#photos button[title="{name}"]')
        visitor.page.click("#stop")
        assert visitor.state() == "stopped"
    visitor.page.get_by_text("waits.png: stopped.").wait_for()  # by the worker, after the other one
    visitor.choose(("next.png", encoded(random_image(9, 9))))
    assert visitor.download()[0] == "next-restored.png"


JPEG = encoded(np.kron(random_image(20, 20), np.ones((8, 8, 1), np.uint8)), format="JPEG")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("letter.jpg", b"Dear Anna,\n", "not a picture"),
        ("nothing.png", b"", "empty"),
        ("half.jpg", JPEG[: len(JPEG) // 2], "damaged: it ends in the middle of the JPEG picture"),
        ("half.png", encoded(random_image(30, 30))[:-40], "damaged: it ends in the middle of the PNG picture"),
        ("phone.jpg", b"\0\0\0\x18ftypheic" + bytes(40), "cannot open HEIC pictures"),
        ("broken.jpg", JPEG[:3] + bytes(100) + JPEG[-2:], "cannot open this JPEG picture"),
    ],
)
def test_an_unusable_file_is_named_in_a_sentence(visitor, name, content, sentence):
    visitor.choose((name, content))
    visitor.page.get_by_role("status").filter(has_text=f"{name}: ").wait_for()
    assert sentence in visitor.state()
    assert sentence in visitor.page.inner_text("#message")


def test_zeros_and_garbage_are_errors_but_a_black_photo_is_none(visitor):
    """What LiteRT.js gives in place of an exception when its memory does not suffice."""
    outcomes = visitor.page.evaluate(
        """async () => {
            const { Network } = await import("./network.js");
            const { Image } = await import("./tiling.js");
            const model = await (await fetch("model/model.json")).json();
            const names = Object.keys(model.files);
            const read = async (name) => new Uint8Array(await (await fetch("model/" + name)).arrayBuffer());
            const files = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await read(name)])));
            const outcome = async (compute, ...complaints) => {
                const errors = [];
                class Tensor { constructor(data) { this.values = data; } data() { return this.values; } delete() {} }
                const run = ({ blurry, image, coarse }) => {
                    if (image) return { halved: new Tensor(new Float32Array(image.values.length / 4).fill(0.2)) };
                    errors.push(...complaints);
                    return { restored: new Tensor(blurry.values.map(compute)) };
                };
                const litert = { Tensor, loadAndCompile: async () => ({ run, delete() {} }) };
                const network = new Network(litert, model, files, errors, {});
                const photo = new Image(8, 8, new Uint8Array(8 * 8 * 3));
                try {
                    const restored = await network.restore(photo, 64, async () => {});
                    return restored.data.some(Boolean);
                } catch (error) {
                    return error.constructor.name;
                }
            };
            const same = (value) => value;
            return [await outcome(() => 0), await outcome(same, "ERROR: no memory"), await outcome(same)];
        }"""
    )
    assert outcomes == ["RunError", "RunError", False]


class PlainHandler(http.server.SimpleHTTPRequestHandler):
    """``python -m http.server``, whose pages are not cross-origin isolated."""

    def log_message(self, *_):
        pass


def test_any_static_server_will_do(browser, site, serve, tiles_folder):
    handler = functools.partial(PlainHandler, directory=str(site))
    narrow = {"viewport": {"width": 390, "height": 844}}
    visitor = Visitor(browser, serve(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)), **narrow)
    assert visitor.page.get_attribute("html", "data-threads") == "1"
    visitor.page.click("#example")
    expected = np.asarray(Image.open(site / "example" / "restored.png"))
    np.testing.assert_array_equal(visitor.download()[1], expected)
    assert visitor.page.evaluate("document.documentElement.scrollWidth") == 390  # nothing sticks out
    visitor.page.click("summary:has-text('Which network')")
    width = visitor.page.evaluate("document.querySelector('dl').clientWidth")
    assert visitor.page.evaluate("document.querySelector('dd').offsetWidth") == width  # not a column of syllables
    assert visitor.complaints == []
