"""What committed samples say: steps beside their floors, where the rest goes, held-out errors, and
what each design choice is worth. Needs neither torch nor a GPU.
"""
