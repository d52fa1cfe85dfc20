"""Running a package over files: what comes in, what the network says, and what a post-processing hook makes of it.

A hook is any function of this form, named with `--postprocess MODULE:FUNCTION` or registered under the entry-point
group `bitline.postprocess`:

    from bitline.inference import Box, Frame

    def boxes(outputs: Mapping[str, NDArray], frame: Frame) -> Sequence[Box]: ...
"""

from bitline.data.frame import Frame
from bitline.inference.answers import Answer, Box, Classes, PostProcess, Prediction

__all__ = ["Answer", "Box", "Classes", "Frame", "PostProcess", "Prediction"]
