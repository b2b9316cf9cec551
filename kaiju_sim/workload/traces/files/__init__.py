"""How bytes on disk become records: opening, decompressing, splitting, and checking values."""
