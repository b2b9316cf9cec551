"""What the pages show, as plain rows: numbers come from `kaiju_sim`, never from a page."""
