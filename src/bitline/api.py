"""The public Python API.

model = bitline.load("resnet20.onnx")
package = bitline.compile(model, target="reram-tile", calib={"input": images})
package.run({"input": images}).outputs["logits"]
package.verify().ok
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bitline.core.diagnostics import Diagnostic, Refusal, refuse
from bitline.core.progress import SILENT, Progress
from bitline.data.grammar import Preprocess, parse_preprocess
from bitline.data.images import load_decoders
from bitline.data.load import Rules
from bitline.data.pixels import image_input
from bitline.data.sources import find_sources
from bitline.engines.ort import Session
from bitline.graph.model import Model
from bitline.graph.states import state_pairs
from bitline.inference.answers import PostProcess
from bitline.inference.classes import check_labels, read_labels, scoring
from bitline.inference.files import Asked, FileResult, run_sources
from bitline.inference.hooks import load_hook
from bitline.numerics.stored import from_bytes, from_stored, sample_shape, to_bytes, to_stored
from bitline.package import check_output, write_package
from bitline.pipeline import check, compile_model
from bitline.pipeline import load as load_simplified
from bitline.pipeline.check import Check, Exactness
from bitline.pipeline.contents import Contents, open_contents, package_contents
from bitline.pipeline.outlook import look
from bitline.pipeline.rebuild import rebuilt
from bitline.quant.calibration import batches, checked, sample_count
from bitline.quant.options import QuantOptions
from bitline.report.figures import Json
from bitline.report.outlook import Outlook
from bitline.sim.runner import Runner
from bitline.target.load import load_target
from bitline.target.schema import Chip
from bitline.verify.numeric import Agreement, sqnr_db

Array = npt.NDArray[np.generic]
Feeds = Mapping[str, Array]

BATCH_BYTES = 256 << 20
"""Memory that the simulated memories of one batch may take."""


def load(path: str | Path, *, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Model:
    """An ONNX file through the gate, simplified; names are kept. Raises `Refusal` (BL02xx, BL0303)."""
    return load_simplified(Path(path), shapes or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """All checks of a package; `ok` if none found anything."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return not any(c.errors for c in self.checks)

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(e for c in self.checks for e in c.errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The first samples of a run through other engines: bit for bit, kernel by kernel, and against the user's model."""

    exact: Exactness
    teacher_forced: Agreement
    end_to_end: Agreement
    runtime_itself: Agreement
    sqnr_vs_onnxruntime_db: float
    argmax_agreement: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """Outputs by name, samples stacked on axis 0; times in seconds, checks not included."""

    outputs: dict[str, Array]
    samples: int
    preprocess_seconds: float
    inference_seconds: float
    postprocess_seconds: float
    instructions: int
    conversions: int
    clipped: int
    checked: Checked | None


class Package:
    """A compiled network. Made by `compile` or `open_package`; nothing in it changes."""

    def __init__(self, contents: Contents) -> None:
        self.contents = contents
        self._runner: Runner | None = None

    @property
    def runner(self) -> Runner:
        """The simulated chip with the decoded program."""
        if self._runner is None:
            self._runner = Runner(self.contents.program, self.contents.memories, self.contents.host.functions)
        return self._runner

    @property
    def model(self) -> Model:
        """The QDQ model inside."""
        return Model(proto=self.contents.qdq, name=self.contents.manifest.model, path=Path("model.onnx"))

    def save(self, place: str | Path) -> None:
        """Write the package to a folder. Raises `Refusal` (BL0104)."""
        write_package(Path(place), self.contents.files, self.contents.manifest)

    def figures(self) -> dict[str, Json]:
        """All numbers of the compilation; keys as in `bitline compile --json`."""
        return self.contents.figures

    def report(self) -> str:
        """The HTML page."""
        return self.contents.files["report.html"].decode()

    def verify(self, *, progress: Progress = SILENT) -> Verified:
        """Every artefact checked by code that did not write it, numbers against reference and golden."""
        progress.stage("checking placement, schedule and program")
        found = list(check.structural_checks(self.contents))
        if not any(c.errors for c in found):
            progress.stage("comparing numbers")
            found += check.numeric_checks(self.contents, self.runner)
        if not any(c.errors for c in found):
            progress.stage("compiling again")
            found.append(rebuilt(self.contents))
        return Verified(checks=tuple(found))

    def run(
        self, feeds: Feeds, *, check_samples: int = 0, step: bool = False, progress: Progress = SILENT
    ) -> RunResult:
        """Simulate samples stacked on axis 0. Raises `Refusal` (BL0105) where they do not fit the model."""
        contents, network = self.contents, self.contents.network
        quantised = [p.name for p in network.ports if p.direction == "input" and p.real]
        fitting = checked(feeds, self.model, finite=quantised)
        count = sample_count(fitting, self.model)
        started = time.perf_counter()
        inputs = {p.tensor: p for p in network.ports if p.direction == "input"}
        stored = {
            name: to_stored(fitting[port.name].reshape(count, *sample_shape(port.shape)), port, network.tensor(name))
            for name, port in inputs.items()
        }
        prepared = time.perf_counter()
        parts: list[dict[str, npt.NDArray[np.uint8]]] = []
        instructions = conversions = clipped = 0
        for chunk in self._chunks(count, step):
            data = {name: to_bytes(values[chunk], network.tensor(name)) for name, values in stored.items()}
            ran = self.runner.step(data) if step else self.runner.run(data)
            parts.append(ran.outputs)
            instructions += ran.instructions
            conversions, clipped = conversions + ran.conversions, clipped + ran.clipped
            progress.advance(chunk.stop - chunk.start)
        simulated = time.perf_counter()
        outputs: dict[str, Array] = {}
        for port in network.ports:
            if port.direction == "output":
                tensor = network.tensor(port.tensor)
                whole = np.concatenate([part[port.tensor] for part in parts])
                outputs[port.name] = from_stored(from_bytes(whole, tensor), port, tensor)
        ended = time.perf_counter()
        few = min(check_samples, count)
        return RunResult(
            outputs=outputs,
            samples=count,
            preprocess_seconds=prepared - started,
            inference_seconds=simulated - prepared,
            postprocess_seconds=ended - simulated,
            instructions=instructions,
            conversions=conversions,
            clipped=clipped,
            checked=check_first(contents, self.runner, self.model, fitting, stored, outputs, few) if few else None,
        )

    def run_files(
        self,
        data: str | Path | Sequence[str | Path],
        *,
        preprocess: str | Preprocess | None = None,
        hop: int | None = None,
        limit: int | None = None,
        top: int = 5,
        labels: str | Path | Sequence[str] = (),
        postprocess: str | PostProcess | None = None,
        keep_state: bool = False,
        check_samples: int = 0,
        step: bool = False,
        progress: Progress = SILENT,
    ) -> Iterator[FileResult[RunResult]]:
        """Simulate files, folders and globs: one result a file, in order, bad files too (`errors`); see `bitline.data`.

        `preprocess`: how images become numbers (`data.grammar`). `hop`: how far apart the frames of a stream begin.
        `limit`: the most samples of every argument. `labels`: names of classes, or a file of them. `postprocess`: a
        hook (`bitline.inference`) or its name. `keep_state`: outputs feed inputs of the next sample, as the package
        says. Raises `Refusal` before any work where an option or a name is wrong (BL0101, BL0105, BL0206).
        """
        model = self.model
        rule = parse_preprocess(preprocess) if isinstance(preprocess, str) else preprocess
        state = self._state_pairs() if keep_state else ()
        rules = Rules(preprocess=rule, hop=hop, without=frozenset(name for _, name in state))
        sources = find_sources([str(one) for one in ([data] if isinstance(data, str | Path) else data)], limit)
        if first := next((source for source in sources if source.kind == "image"), None):
            image_input(model, rule, place=first.name, without=rules.without)
            load_decoders()
        how = scoring(model)
        place = str(labels) if isinstance(labels, str | Path) else "labels"
        names = read_labels(Path(labels)) if isinstance(labels, str | Path) else tuple(labels)
        hook = load_hook(postprocess) if isinstance(postprocess, str) else postprocess
        if names and hook is None:
            check_labels(names, how, place)
        asked = Asked(rules=rules, top=top, labels=names, scoring=how, hook=hook, check=check_samples, state=state)

        def simulate(feeds: Feeds, check: int) -> RunResult:
            return self.run(feeds, check_samples=check, step=step, progress=progress)

        return run_sources(simulate, model, sources, asked, progress)

    def _state_pairs(self) -> tuple[tuple[str, str], ...]:
        """(output, input) that carry state: the option `state` of the manifest, `OUT=IN` pairs with spaces between."""
        inputs = {p.name for p in self.contents.network.ports if p.direction == "input"}
        outputs = {p.name for p in self.contents.network.ports if p.direction == "output"}
        found: list[tuple[str, str]] = []
        for pair in self.contents.manifest.options.get("state", "").split():
            out, _, into = pair.partition("=")
            if out not in outputs or into not in inputs:
                message = f"the manifest says that {out!r} feeds {into!r}, which are no output and input of the network"
                raise refuse("BL0205", message, place="manifest.json:options.state", help="compile the package again")
            found.append((out, into))
        if not found:
            raise refuse(
                "BL0101",
                "the package carries no state from sample to sample",
                help="leave --keep-state out; packages with state list it under `state` in their manifest",
            )
        return tuple(found)

    def _chunks(self, count: int, step: bool) -> Iterator[slice]:
        """Samples in batches that fit into memory."""
        spaces = self.contents.program.spaces
        cores = self.contents.program.cores
        each = sum(s.bytes * (cores if s.per_core else 1) for s in spaces if not s.constant)
        size = self.runner.stream * (1 if step else max(1, min(256, BATCH_BYTES // max(1, 4 * each))))
        for start in range(0, count, size):
            yield slice(start, min(start + size, count))


def check_first(
    contents: Contents, runner: Runner, model: Model, feeds: Feeds, stored: Feeds, outputs: Feeds, few: int
) -> Checked:
    """The first `few` samples through reference, golden and ONNX Runtime."""
    exact = check.exactness(contents, runner, {name: values[:few] for name, values in stored.items()})
    forced: list[Agreement] = []
    ends: list[Agreement] = []
    itself: list[Agreement] = []
    names = [p.name for p in contents.network.ports if p.direction == "output"]
    plain = Session(contents.qdq, optimise=False, place="model.onnx")
    wanted: dict[str, list[Array]] = {name: [] for name in names}
    for i, feed in enumerate(batches(feeds, model)):
        if i >= few:
            break
        forced.append(check.teacher_forced(contents, feed))
        unoptimised = check.qdq_tensors(contents, feed, optimise=False)
        optimised = check.qdq_tensors(contents, feed, optimise=True)
        simulated = check.all_tensors(contents, {n: v[i] for n, v in stored.items()})
        ends.append(check.compare(simulated, unoptimised))
        itself.append(check.compare(optimised, unoptimised))
        for name, values in plain.run(feed, names).items():
            wanted[name].append(values)
    want = {name: np.concatenate([v.reshape(1, -1) for v in values]) for name, values in wanted.items()}
    got = {name: outputs[name][:few].reshape(few, -1) for name in names}
    matches = [want[n].argmax(axis=1) == got[n].argmax(axis=1) for n in names]
    return Checked(
        exact=exact,
        teacher_forced=add_up(forced),
        end_to_end=add_up(ends),
        runtime_itself=add_up(itself),
        sqnr_vs_onnxruntime_db=min(sqnr_db(want[n], got[n]) for n in names),
        argmax_agreement=float(np.mean(matches)),
    )


def add_up(parts: Sequence[Agreement]) -> Agreement:
    """Agreement over several samples."""
    return Agreement(
        values=sum(p.values for p in parts),
        equal=sum(p.equal for p in parts),
        within_one=sum(p.within_one for p in parts),
        largest_difference=max((p.largest_difference for p in parts), default=0),
    )


def merge_checked(parts: Sequence[Checked]) -> Checked | None:
    """What several runs found when they were checked, as one; None where none was."""
    if len(parts) < 2:
        return parts[0] if parts else None
    samples = sum(p.exact.samples for p in parts)
    exact = Exactness(
        samples=samples,
        against_reference=add_up([p.exact.against_reference for p in parts]),
        against_golden=add_up([p.exact.against_golden for p in parts]),
        conversions=sum(p.exact.conversions for p in parts),
        clipped=sum(p.exact.clipped for p in parts),
    )
    return Checked(
        exact=exact,
        teacher_forced=add_up([p.teacher_forced for p in parts]),
        end_to_end=add_up([p.end_to_end for p in parts]),
        runtime_itself=add_up([p.runtime_itself for p in parts]),
        sqnr_vs_onnxruntime_db=min(p.sqnr_vs_onnxruntime_db for p in parts),
        argmax_agreement=sum(p.argmax_agreement * p.exact.samples for p in parts) / samples,
    )


def check_model(
    model: Model | str | Path,
    *,
    target: str | Chip | None = None,
    overrides: Sequence[str] = (),
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Outlook:
    """What a compilation would meet: fit, units, MACs, and every problem at once with its way out.

    Raises `Refusal` only for what cannot be read at all: the model file (BL02xx, BL03xx), the target (BL0102, BL0103).
    """
    chip = load_target(target, overrides) if isinstance(target, str) else target
    loaded = model if isinstance(model, Model) else load(model, shapes=shapes)
    return look(loaded, chip)


def compile(  # the verb that users look for; `bitline.compile` reads right
    model: Model | str | Path,
    *,
    target: str | Chip,
    calib: Feeds | None = None,
    options: QuantOptions = QuantOptions(),
    overrides: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
    output: str | Path | None = None,
    progress: Progress = SILENT,
    state: Sequence[str] = (),
    stream: int = 1,
    array_budget: int | None = None,
    depthwise_group: int | None = None,
) -> Package:
    """Compile a float or QDQ model for a chip. `calib`: samples stacked on axis 0, needed for a float model; where they
    leave out an input that carries state, they are a stream in this order, and the float model makes it.

    `overrides` are `key.path=value` of the target, `labels` go into the manifest. `state`: OUT=IN pairs that carry
    state from step to step of a stream; without any, outputs and inputs whose names and shapes say so. `stream`:
    samples that one run of the program takes, its kernels working on several of them at once as a pipeline.
    `array_budget`: arrays that copies of the weights may take, so that layers with many pixels compute several at once;
    None: all weights lie in the arrays once. `depthwise_group`: groups of a grouped convolution that share a block at
    most, diagonally; None: as many as fit. Where `output` is given, the folder is tested before any work starts and
    written at the end. Raises `Refusal`; a program
    that fails its checks is one too.
    """
    if output is not None:
        check_output(Path(output))
    chip = load_target(target, overrides) if isinstance(target, str) else target
    loaded = model if isinstance(model, Model) else load(model)
    progress.stage("compiling")
    pairs = state_pairs(loaded, state) if state or not options.states else options.states
    compiled = compile_model(loaded, calib, chip, replace(options, states=pairs), stream, array_budget, depthwise_group)
    noted = dict(labels or {})
    if pairs:
        noted["state"] = " ".join(f"{source}={target}" for source, target in pairs)
    if stream > 1:
        noted["stream"] = str(stream)
    if array_budget is not None:
        noted["array_budget"] = str(array_budget)
    if depthwise_group is not None:
        noted["depthwise_group"] = str(depthwise_group)
    if compiled.quantised.sqnr_db is not None:
        noted["sqnr_db"] = repr(compiled.quantised.sqnr_db)
    progress.stage("drawing reports")
    manifest, files = package_contents(compiled, noted)
    made = Package(Contents(manifest, files))
    progress.stage("checking the program")
    wrong = [error for done in check.structural_checks(made.contents) for error in done.errors]
    if wrong:
        raise Refusal(wrong)
    if output is not None:
        made.save(output)
    return made


def open_package(place: str | Path) -> Package:
    """A package from its folder. Raises `Refusal` (BL0201, BL0205)."""
    return Package(open_contents(Path(place)))
