"""The pictures of docs/images: `python -m benchmarks.dashboard.pictures [NAME...]`.

Each page as a visitor sees it after pressing its button, 1280 pixels wide; one on dark ground, one
as on a phone. Figures in them are of this machine's runs; look at every picture before it is kept.
With KAIJU_APP_DIR what was searched before is not searched again.
"""

import io
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.dashboard.served import DRAWN, ROOT, chromium, dashboard

FOLDER = ROOT / "docs" / "images"
MOST_BYTES = 150_000
RUN_MS = 1_800_000
COLOURS = 128


@dataclass(frozen=True)
class Picture:
    """A view of the dashboard."""

    link: str
    height: int
    """Pixels of the window; a page is not drawn beyond it."""
    button: str | None = None
    """What is pressed, and waited for."""
    width: int = 1280
    scheme: str = "light"


PICTURES = {
    "answer": Picture("/", 1420, "Simulate"),
    "break-it": Picture("/break_it?break=no-affinity", 1500, "Break it"),
    "incidents": Picture("/incidents?incident=replica_loss", 1500, "Play"),
    "plan": Picture("/plan", 1500, "Find the fewest GPUs"),
    "pareto": Picture("/plan?view=Pareto+front", 1300, "Simulate the grid"),
    "compare": Picture("/plan?view=Compare+two&b-set=fleet.replicas%3D48", 1500, "Compare"),
    "traffic": Picture("/traffic", 1400),
    "trust": Picture("/trust", 1700),
    "audit": Picture("/audit", 1400),
    "dark": Picture("/incidents?incident=retry_storm", 1500, "Play", scheme="dark"),
    "phone": Picture("/", 1700, width=390),
}


def main(names: Sequence[str]) -> None:
    """Take the pictures of these names, or all."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        dashboard(Path(os.environ.get("KAIJU_APP_DIR", folder))) as address,
        chromium() as browser,
    ):
        for name in names or PICTURES:
            content = small(taken(browser, address, PICTURES[name]))
            file = FOLDER / f"app-{name}.png"
            file.write_bytes(content)
            fits = "" if len(content) <= MOST_BYTES else f", over {MOST_BYTES:,}"
            print(f"{file.relative_to(ROOT)}: {len(content):,} bytes{fits}", flush=True)  # noqa: T201


def taken(browser: Any, address: str, asked: Picture) -> bytes:
    """The view, drawn."""
    context = browser.new_context(
        base_url=address,
        viewport={"width": asked.width, "height": asked.height},
        color_scheme=asked.scheme,
    )
    page = context.new_page()
    page.goto(asked.link)
    page.wait_for_function(DRAWN)
    if asked.button:
        page.get_by_role("button", name=asked.button, exact=True).click()
        page.get_by_role("button", name="Run directory (zip)").wait_for(timeout=RUN_MS)
        page.get_by_role("button", name="Cancel").wait_for(state="detached", timeout=RUN_MS)
        page.wait_for_function(DRAWN)
    page.mouse.move(0, asked.height - 1)
    page.wait_for_timeout(2000)
    content: bytes = page.screenshot()
    context.close()
    return content


def small(content: bytes) -> bytes:
    """The picture with few colours, which is a third of its size."""
    out = io.BytesIO()
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    few = picture.quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(out, "PNG", optimize=True)
    return out.getvalue()


if __name__ == "__main__":
    main(sys.argv[1:])
