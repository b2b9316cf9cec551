"""`python -m app`: serve the dashboard to this machine's browser; options are Streamlit's own."""

import sys

from app.server import serve

if __name__ == "__main__":
    serve(sys.argv[1:])
