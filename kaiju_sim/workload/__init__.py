"""Who arrives when and says how much: distributions, characters, sessions, traces."""
