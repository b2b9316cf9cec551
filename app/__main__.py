"""`python -m app`: serve the dashboard to this machine's browser; options are Streamlit's own."""

import sys
from pathlib import Path

from streamlit.runtime.pages_manager import PagesManager
from streamlit.web.cli import main

ENTRY = Path(__file__).with_name("streamlit_app.py")


def serve(options: list[str]) -> None:
    """Run Streamlit on the entry.

    A folder named pages/ makes Streamlit guess a navigation of its own until the entry has run
    once, so that a link to a page that is the server's first visit would show that one.
    """
    PagesManager.uses_pages_directory = False
    sys.argv = ["streamlit", "run", str(ENTRY), *options]
    main()


if __name__ == "__main__":
    serve(sys.argv[1:])
