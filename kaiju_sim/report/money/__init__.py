"""Money for readers: the words of its keys, its tables on the console and in the report."""
