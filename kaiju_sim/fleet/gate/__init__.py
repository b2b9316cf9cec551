"""Parts of the safety gate: its records, its servers, its scores, its building."""
