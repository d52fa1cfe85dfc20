"""The one place that knows the order of the stages: compiling, writing a package, running and checking one."""

from bitline.pipeline.compile import (
    Compiled,
    Quantised,
    compile_model,
    load,
    make_plan,
    make_program,
    quantise,
    to_kernels,
)

__all__ = ["Compiled", "Quantised", "compile_model", "load", "make_plan", "make_program", "quantise", "to_kernels"]
