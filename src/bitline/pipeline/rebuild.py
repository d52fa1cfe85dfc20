"""A package made once more from what it was made of: `model.onnx`, `target.json`, `schedule.json`.

The compiler checks nothing here, it only repeats itself: whatever somebody changed in a package without changing what
the other checks can see, a bias by one or a line of the report, shows as a file that comes out differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bitline.core.diagnostics import Diagnostic, Refusal
from bitline.core.version import __version__
from bitline.graph.model import Model
from bitline.isa import binary
from bitline.lower.golden import golden_model
from bitline.pipeline.check import Check
from bitline.pipeline.compile import Compiled, Quantised, make_program, to_kernels, with_states
from bitline.pipeline.contents import Contents, package_contents
from bitline.schedule.plan import Planned, block_residencies
from bitline.sim import timing

NAME = "compiled again, same bytes"
DIGITS = 10


def rebuilt(contents: Contents) -> Check:
    """Every file that comes out differently (BL0505). Asked only of packages in which nothing else is wrong."""
    manifest = contents.manifest
    if manifest.version != __version__:
        return Check(name=NAME, saw=f"skipped: made by bitline {manifest.version}", errors=())
    try:
        again = _again(contents)
    except Refusal as refusal:
        return Check(name=NAME, saw="model.onnx does not compile", errors=refusal.diagnostics)
    errors = tuple(
        Diagnostic(
            code="BL0505",
            message="not what model.onnx, target.json and schedule.json give",
            place=name,
            help="compile the package again",
        )
        for name, data in sorted(again.items())
        if data != contents.files[name]
    )
    return Check(name=NAME, saw=f"{len(again)} files, {sum(map(len, again.values())):,} bytes", errors=errors)


def _again(contents: Contents) -> dict[str, bytes]:
    manifest, chip = contents.manifest, contents.chip
    user_file = Path(contents.network.name)
    model = Model(proto=contents.qdq, name=manifest.model, path=user_file, remarks=manifest.remarks)
    states = [(port.name, port.state) for port in contents.network.ports if port.state]
    lowered = with_states(to_kernels(model, chip, _most_groups(manifest.options)), states)
    planned = Planned(schedule=contents.schedule, blocks=block_residencies(lowered.network, contents.schedule))
    built = make_program(lowered, planned, chip)
    compiled = Compiled(
        quantised=Quantised(model=model, steps=manifest.steps, sqnr_db=None),
        chip=chip,
        lowered=lowered,
        planned=planned,
        built=built,
        program=binary.encode(built.program),
        trace=timing.trace(chip, built.program, len(lowered.network.kernels), planned.schedule.window),
        golden=golden_model(lowered.network, lowered.constants),
    )
    return package_contents(compiled, manifest.options)[1]


def _most_groups(options: Mapping[str, str]) -> int | None:
    """What `--depthwise-group` was; None where it says no number."""
    text = options.get("depthwise_group", "")
    return int(text) if text.isascii() and text.isdigit() and 0 < len(text) < DIGITS and int(text) else None
