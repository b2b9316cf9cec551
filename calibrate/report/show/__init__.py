"""A report for people: tables, drawings, pages."""
