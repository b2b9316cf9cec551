"""What each trick does to the loss: runs that differ in one thing, over several seeds.

`arms` names them, `units` trains one, `workers` spreads them over processes, `results` is the file
that they are gathered in, `run` puts it together.
"""
