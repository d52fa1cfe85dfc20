"""Every key that a command prints with `--json`: its unit, and what it is or by which formula.

`compile_figures` and its like compute them; tests compare these lists with what commands print.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One key. `unit` is empty for counts, words and lists; `meaning` holds the formula where there is one."""

    key: str
    unit: str
    meaning: str


def _terms(*rows: tuple[str, str, str]) -> tuple[Term, ...]:
    return tuple(Term(key=key, unit=unit, meaning=meaning) for key, unit, meaning in rows)


EVERY: Final = _terms(
    ("schema", "", "which command answered, and the version of its form, as `bitline.COMMAND/1`"),
    ("version", "", "version of bitline"),
)
"""Keys of every answer."""

FIGURES: Final = _terms(
    ("arrays_used", "arrays", "arrays that ever hold a block of weights"),
    ("arrays_available", "arrays", "cores x array.per_core"),
    ("lower_bound", "arrays", "no packing of these blocks, all at once, takes fewer arrays"),
    (
        "proof",
        "",
        "`bound` where all blocks stay and lie in exactly `lower_bound` arrays, so that fewer cannot do; else `none`",
    ),
    ("row_cuts", "", "edges between blocks above one another in the same matrix; each adds one sum per output"),
    ("col_cuts", "", "edges between blocks beside one another in the same matrix"),
    ("interval", "MVMs", "MVMs per inference of the array that fires most; its blocks fire one after another"),
    ("pieces", "blocks", "blocks of weights, as cut to the size of an array"),
    ("mvm_fires", "MVMs", "matrix-vector multiplications of all arrays in one inference"),
    ("segments", "", "runs of layers whose weights lie in the arrays together; 1: nothing is reloaded between them"),
    ("resident", "", "true where all weights stay from one inference to the next"),
    ("weight_updates", "blocks", "blocks that convolutions of one group write into arrays in one inference"),
    (
        "weight_updates_default",
        "blocks",
        "the same without reuse: C R where the R blocks of a column fit the arrays of a core, else C P R; C columns of "
        "blocks, P output pixels",
    ),
    ("weight_updates_floor", "blocks", "the least there can be: every block once, 0 where weights stay"),
    ("fc_weight_updates", "blocks", "as `weight_updates`, of layers with one output pixel"),
    ("fc_weight_updates_default", "blocks", "as `weight_updates_default`, of layers with one output pixel"),
    ("fc_weight_updates_floor", "blocks", "as `weight_updates_floor`, of layers with one output pixel"),
    ("array_writes", "blocks", "blocks written into arrays in one inference, all layers; not those before the first"),
    ("dma_transactions", "", "runs of neighbouring bytes outside the cores that DMA reads or writes in one inference"),
    ("dma_transactions_default", "", "the same if every output pixel fetched its rows of the window on its own"),
    ("dma_rectangles", "", "DMA instructions executed in one inference"),
    ("dram_bytes", "bytes", "to and from DRAM in one inference, weights that are reloaded included"),
    ("instructions_static", "", "instructions stored in all queues"),
    ("instructions_executed", "", "instructions carried out by all cores in one inference"),
    ("cycles", "cycles", "latency / control.issue_ns, rounded"),
    ("latency_us", "us", "first to last event of one inference, weights that stay written before it"),
    (
        "interval_us",
        "us",
        "from one result to the next in a long stream of inputs; the latency where they do not overlap (no `--stream`)",
    ),
    ("samples_per_s", "1/s", "1,000,000 / interval_us"),
    ("stream_inputs", "", "inputs that one run of the program takes: `--stream`, or 1"),
    ("stream_window", "", "inputs that are on their way at once, each with a frame of memory of its own"),
    ("setup_us", "us", "time to write the weights that stay, once, before the first inference"),
    ("energy_uj", "uJ", "sum over the instructions of one inference, and control.leakage_mw for the latency"),
    ("setup_energy_uj", "uJ", "energy to write the weights that stay, once"),
    ("macs", "MACs", "multiply-accumulates that the ONNX model asks for in one inference"),
    ("macs_on_arrays", "MACs", "those with weights, done in arrays: output pixels x groups x rows x columns"),
    ("macs_on_vector", "MACs", "products of activations by activations, done by vector units"),
    ("macs_on_host", "MACs", "those inside host kernels"),
    ("host_kernels", "", "parts of the network that the host runs"),
    ("host_us", "us", "time of all host kernels: call_ns + max(MACs / macs_per_ns, bytes / bytes_per_ns) each"),
    ("host_time_share", "0 to 1", "host_us / latency_us"),
    ("host", "", "for each host kernel its name, ONNX nodes, reason, MACs and time"),
    ("tensors_of_16_bits", "", "ONNX tensors that quantisation gave 16 bits"),
    ("moves", "", "kernels that only copy, where no reader could follow the stored order"),
    ("writes_per_cell", "writes", "per inference, mean over all cells of the arrays that hold blocks"),
    ("writes_per_cell_max", "writes", "per inference, of the cell that is written most often"),
    (
        "lifetime_inferences",
        "inferences",
        "array.endurance_writes / writes_per_cell_max; null where nothing is written or no endurance is stated",
    ),
    ("utilisation", "0 to 1", "weights / cells of the arrays that hold them, over all loads of an inference"),
    ("kernels", "", "kernels of the network after lowering"),
)
"""Of `compile`, `report` and `schedule`."""

BLOCKS: Final = _terms(
    ("core_id", "", "number of the array over all cores: core x array.per_core + array"),
    ("index", "", "place in the order of data: blocks of later layers have larger ones"),
    ("w_row_start", "weights", "first row of the block in its array"),
    ("w_col_start", "weights", "first column of the block in its array"),
    ("rows", "weights", "height of the block"),
    ("cols", "weights", "width of the block"),
    ("node", "", "ONNX node whose weights these are"),
    ("row_offset", "weights", "first row of the block in its matrix"),
    ("col_offset", "weights", "first column of the block in its matrix"),
)
"""Of each of the `blocks` of `place` and of summary.json."""

TABLE: Final = _terms(("blocks", "", "the table of blocks"))

COMPILE: Final = _terms(
    ("compile_seconds", "s", "time of the compilation, the model read before"),
    ("peak_rss_mb", "MB", "most memory that the process held"),
    ("verified", "", "`structure`: placement, schedule and program were checked; numbers are for `verify`"),
    ("sqnr_db", "dB", "signal to quantisation noise at the outputs on the calibration samples; null for QDQ models"),
    ("package", "", "the folder that was written"),
)

QUANTIZE: Final = _terms(
    ("weight_bits", "bits", "as asked for"),
    ("activation_bits", "bits", "as asked for; tensors that needed 16 are named in `steps`"),
    ("granularity", "", "`channel` or `tensor`: what a weight scale belongs to"),
    ("method", "", "as asked for; `steps` say what was chosen"),
    ("sqnr_db", "dB", "10 log10(sum y^2 / sum (y - q)^2), the outputs y in float and q quantised, calibration samples"),
    ("steps", "", "what quantisation did and decided, in sentences"),
    ("calibration", "", "which samples, and how many"),
    ("seconds", "s", "time of the quantisation"),
    ("output", "", "the file that was written"),
    ("agree", "%", "test samples with the same largest output in float and quantised; only with `--test`"),
    ("top1_float", "%", "test samples whose largest output is at their label, in float; only with labels"),
    ("top1_quant", "%", "the same of the quantised model; only with labels"),
)

PLACE: Final = _terms(
    ("arrays_used", "arrays", "arrays that the blocks take, as many as they want or as the budget allows"),
    ("mvm_fires", "MVMs", "per inference: sum over blocks of output pixels; a copy fires for its share"),
    ("interval", "MVMs", "per inference, of the array that fires most; its blocks fire one after another"),
    ("interval_bound", "MVMs", "no placement of these blocks in as many arrays has a shorter interval"),
    ("interval_why", "", "what says so"),
    (
        "latency",
        "MVMs",
        "one after another: layers in turn, blocks of a layer together unless they share an array",
    ),
    ("lower_bound", "arrays", "no placement of these blocks takes fewer"),
    ("bound", "", "which bound that is: area, bias, clique, dff, scale, occupied or solver"),
    (
        "proof",
        "",
        "`bound` where arrays_used = lower_bound, which `verify` recomputes; `solver`; or `none`",
    ),
    ("gap", "arrays", "arrays_used - lower_bound"),
    (
        "utilisation",
        "0 to 1",
        "cells of the blocks, with the zeros between diagonal groups in them / cells of the arrays used, without bad "
        "columns and what else cannot be used",
    ),
    ("pieces", "blocks", "blocks of weights"),
    ("row_cuts", "", "cuts through rows: parts whose sums are added to those of another part"),
    ("col_cuts", "", "cuts through columns: parts that read the inputs of another part once more"),
    ("row_cut_pj", "pJ", "price of a cut through rows, per column and firing: an addition of partial sums"),
    ("col_cut_pj", "pJ", "price of a cut through columns, per row and firing: a read of an input"),
    ("seconds", "s", "time of the placement, without loading and compiling what it runs on"),
    ("interrupted", "", "whether Ctrl-C ended the search"),
    (
        "pareto",
        "",
        "points in arrays_used, mvm_fires and interval, none as good as another in all, and their options",
    ),
    ("layers", "", "for each matrix its nodes, size, depthwise_group, copies, window, firings, pieces, bias rows"),
    ("blocks", "", "the table of blocks"),
    ("cuts", "", "how matrices were cut, as asked for"),
    ("depthwise_group", "", "groups of a grouped convolution in a block, as asked for"),
    ("objective", "", "what was asked for: arrays, interval or latency"),
    ("array_budget", "arrays", "as asked for, or null"),
    ("array", "", "rows, columns and bias rows of an array; arrays that share bias rows count as one"),
    ("chip_arrays", "arrays", "arrays of the chip"),
    ("fits_chip", "", "whether arrays_used is at most that"),
    (
        "infeasible",
        "",
        "null, or why budget or chip cannot hold the blocks: demand, capacity, unit, bound, levers",
    ),
    ("verified", "", "whether the placement passed the checks of `verify`"),
)

SCHEDULE: Final = _terms(
    ("layers", "", "for each kernel its name, kind, segment, how weights reach the arrays, tile, and figures"),
    ("seconds", "s", "time of the compilation"),
)

RUN: Final = _terms(
    ("samples", "", "samples that gave a result"),
    ("files", "", "files and generators among DATA"),
    ("bad_files", "", "those that gave none, with the reasons"),
    ("scores", "", "how outputs become classes, where they are classes"),
    ("simulate_seconds", "s", "time of the simulator, checks not included; equal to inference_seconds"),
    ("preprocess_seconds", "s", "reading and bringing data into the form of the inputs"),
    ("inference_seconds", "s", "time of the simulator on this machine; the chip's own time is latency_us of `compile`"),
    ("postprocess_seconds", "s", "from integers to outputs, classes, boxes"),
    ("instructions", "", "instructions executed, all samples"),
    ("conversions", "", "conversions of columns, all samples; 0 on digital arrays"),
    ("clipped_conversions", "", "of these, sums above 2^adc.bits - 1"),
    ("checked", "", "samples that also went through the other engines"),
    ("mismatches_vs_reference", "", "output values that differ from the reference evaluator: 0, or something is wrong"),
    (
        "mismatches_vs_golden",
        "",
        "output values that differ from golden.onnx in ONNX Runtime: 0, or something is wrong",
    ),
    (
        "teacher_forced_equal",
        "0 to 1",
        "values of all kernels equal to model.onnx in ONNX Runtime, each fed its integers",
    ),
    ("teacher_forced_within_one_step", "0 to 1", "the same, at most one integer off"),
    ("end_to_end_equal", "0 to 1", "values of all tensors equal to ONNX Runtime's, without feeding it in between"),
    ("end_to_end_within_one_step", "0 to 1", "the same, at most one integer off"),
    (
        "onnxruntime_itself_equal",
        "0 to 1",
        "the same of ONNX Runtime optimised against unoptimised: the measure of noise",
    ),
    ("onnxruntime_itself_within_one_step", "0 to 1", "the same, at most one integer off"),
    ("sqnr_vs_onnxruntime_db", "dB", "of the outputs against model.onnx in ONNX Runtime, the worst output"),
    ("argmax_agreement", "0 to 1", "checked samples whose largest output is at the same place as ONNX Runtime's"),
    ("top1", "%", "samples whose largest value of the first output is at their label; only with labels"),
    ("interrupted", "", "true where Ctrl-C ended the run; else absent"),
    ("output", "", "the folder or file that was written; only with `-o`"),
    ("results", "", "for each sample its classes or boxes; only with `--top`"),
)

VERIFY: Final = _terms(
    ("verified", "", "true where no check found anything"),
    ("checks", "", "for each check its name, what it saw, and what it found wrong"),
    ("seconds", "s", "time of all checks"),
)

CHECK: Final = _terms(
    ("model", "", "file of the model"),
    ("target", "", "name of the chip, empty without one"),
    ("ok", "", "true where nothing would stop a compilation"),
    ("inputs", "", "name, shape and type of every input"),
    ("outputs", "", "name, shape and type of every output"),
    ("operators", "", "how many nodes of each operator run on which unit"),
    ("host", "", "nodes that the host runs, and why"),
    ("macs", "MACs", "of one inference"),
    ("macs_on_arrays", "MACs", "with weights, in arrays"),
    ("macs_on_vector", "MACs", "activations by activations, on vector units"),
    ("macs_on_host", "MACs", "inside host kernels"),
    ("fits", "", "whether the network fits the chip; null without a target"),
    ("resident", "", "true where all weights stay in the arrays"),
    ("segments", "", "parts in which weights are written, one after another"),
    ("arrays_used", "arrays", "arrays that ever hold a block"),
    ("arrays_needed", "arrays", "arrays that hold all weights at once"),
    ("arrays_available", "arrays", "cores x array.per_core"),
    ("memories", "bytes", "used and there, of the memories outside the cores"),
    ("problems", "", "what would stop a compilation: code, message, place, way out"),
    ("remarks", "", "what was assumed"),
    ("seconds", "s", "time of the look"),
)

EXPLAIN: Final = _terms(
    ("layer", "", "the ONNX node that the kernel stands for"),
    ("kernel", "", "its place in the order of execution"),
    ("name", "", "name of the kernel"),
    ("kind", "", "operator after lowering"),
    ("nodes", "", "all ONNX nodes that it was made of"),
    ("weights", "", "`none`, `resident`, `held` (written once a round), `cycled` (written again for every tile)"),
    ("segment", "", "the segment it belongs to, from 0"),
    ("segments", "", "segments in all"),
    ("places", "", "for each array with blocks of it: core, array, blocks"),
    ("blocks", "", "blocks of its weights"),
    ("loads", "blocks", "written into arrays in one inference"),
    ("why", "", "why its weights and tiles are as they are"),
    ("tile", "pixels", "rows and columns of an output tile"),
    ("tiles", "", "tiles of its output"),
    ("start_us", "us", "first instruction of a unit that computes"),
    ("end_us", "us", "end of its last instruction"),
    ("duration_us", "us", "end_us - start_us"),
    ("time_share", "0 to 1", "duration_us / latency_us"),
    ("latency_us", "us", "of the whole inference"),
    ("critical", "", "the unit that is busy for the largest part of the duration, its core and share"),
    ("others", "", "the other units"),
    ("waits", "", "who waits for whom, in words"),
    ("energy_nj", "nJ", "of all its instructions"),
    ("energy_share", "0 to 1", "of the energy of the inference"),
    ("energy_by_unit_nj", "nJ", "by unit"),
    ("writes_per_cell_max", "writes", "per inference, of the cell of this layer that is written most often"),
    ("lifetime_inferences", "inferences", "array.endurance_writes / writes_per_cell_max, or null"),
    ("levers", "", "changes of one value of the chip, each simulated, sorted by what they save"),
    ("lever", "", "the cheapest that helps, or null"),
)

TARGETS: Final = _terms(
    ("targets", "", "of `list`: name and description of every chip"),
    ("sizes", "", "of `list`: cores, arrays, rows, columns and weights of every chip"),
    ("target", "", "of `show`: every value with its source"),
    ("derived", "", "of `show`: what they add up to, with unit, meaning and formula"),
    ("limits", "", "of `show`: what the chip states and programs do not carry out"),
    ("file", "", "of `new`: the file that was written"),
    ("from", "", "of `new`: the chip that it was made from"),
    ("extends", "", "of `new`: whether the file inherits from that chip"),
)

DEMO: Final = _terms(
    ("verified", "", "true where no check found anything"),
    ("top1_float", "%", "digits whose largest output is at their label, in float"),
    ("top1", "%", "the same on the simulated chip"),
    ("samples", "", "digits that were run"),
    ("simulate_seconds", "s", "time of the simulator"),
    ("mismatches_vs_reference", "", "output values that differ from the reference evaluator"),
    ("mismatches_vs_golden", "", "output values that differ from golden.onnx in ONNX Runtime"),
    ("report", "", "place of the report"),
)

DOCTOR: Final = _terms(
    ("ok", "", "true where nothing is broken"),
    ("findings", "", "what was looked at: state (`ok`, `note`, `broken`), value, way out"),
)

REPORT: Final = _terms(("report", "", "place of the report"))

ERROR: Final = _terms(
    ("errors", "", "in place of an answer: code, message, place and way out of everything found wrong")
)

GLOSSARY: Final[dict[str, tuple[Term, ...]]] = {
    "check": CHECK,
    "compile": (*FIGURES, *TABLE, *COMPILE),
    "demo": (*FIGURES, *TABLE, *DEMO),
    "doctor": DOCTOR,
    "explain": EXPLAIN,
    "place": PLACE,
    "quantize": QUANTIZE,
    "report": (*FIGURES, *TABLE, *REPORT),
    "run": RUN,
    "schedule": (*FIGURES, *SCHEDULE),
    "targets": TARGETS,
    "verify": VERIFY,
}
"""Keys by command, those of `EVERY` apart."""
