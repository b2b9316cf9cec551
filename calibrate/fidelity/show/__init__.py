"""The comparison as tables and as drawings."""
