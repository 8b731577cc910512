"""`python -m domain.routing`: compiles the kernel for this machine, so that no start has to."""

from domain.routing.solve import warm

warm()
