"""Which steps and operators are measured, and why: seeded, so that the same job is the same list.

`plan.make_plan` puts it together; `text.explain` says it in words.
"""
