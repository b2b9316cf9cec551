"""The engine over HTTP: completions with token ids, as server-sent events or at once."""
