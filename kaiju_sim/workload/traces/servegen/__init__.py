"""ServeGen: fits of a service's clients, what is in them, and requests drawn from them."""

from kaiju_sim.workload.traces.servegen.draw import draw_trace
from kaiju_sim.workload.traces.servegen.figures import fit_figures
from kaiju_sim.workload.traces.servegen.fits import Fits, is_servegen, read_fits

__all__ = ["Fits", "draw_trace", "fit_figures", "is_servegen", "read_fits"]
