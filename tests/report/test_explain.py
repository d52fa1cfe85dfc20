"""An explained layer: found by its node, its place and reasons in words, who waits for whom, what it spends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bitline.core.diagnostics import Diagnostic, Refusal
from bitline.ir.residency import Block
from bitline.ir.schedule import Job, KernelSchedule, Piece, Schedule, Segment, Strip
from bitline.report.explain import Explained, Place, counted, explain_kernel, find_kernel
from bitline.report.explain_text import explanation_json, explanation_text
from bitline.report.levers import Change, Lever
from tests.report import synthetic


def job(weights: str, blocks: int, *, rounds: int = 1, chunk: int = 0) -> Job:
    pieces = tuple(
        Piece(
            block=Block(matrix="w", copy=0, row_offset=64 * i, col_offset=0, rows=64, cols=16),
            array=i,
            w_row_start=0,
            w_col_start=0,
        )
        for i in range(blocks)
    )
    assert weights in ("none", "resident", "held", "cycled")
    return Job(
        first_core=0,
        last_core=1,
        rounds=rounds,
        unit_cols=16,
        strips=(Strip(col=0, cols=16, pieces=pieces),),
        weights=weights,  # pyright: ignore[reportArgumentType]
        chunk=chunk,
        turns=1,
    )


def plan(number: int, segment: int, work: Job, tile: tuple[int, int] = (5, 1), psum_slots: int = 2) -> KernelSchedule:
    return KernelSchedule(
        kernel=number,
        segment=segment,
        tile_rows=tile[0],
        tile_cols=tile[1],
        input_slots=2,
        psum_slots=psum_slots,
        output_slots=2,
        jobs=(work,),
    )


def schedule(second: KernelSchedule | None = None, *, resident: bool = False) -> Schedule:
    """conv1 resident in 2 tiles, conv2 as given, an Add and a mean."""
    return Schedule(
        segments=(Segment(first=0, last=0), Segment(first=1, last=3)),
        resident=resident,
        kernels=(
            plan(0, 0, job("resident", 1)),
            second or plan(1, 1, job("cycled", 4, chunk=2), psum_slots=1),
            plan(2, 1, job("none", 0)),
            plan(3, 1, job("none", 0)),
        ),
        tensors=(),
        memory_bytes={},
    )


def explained(number: int, of: Schedule | None = None) -> Explained:
    network = synthetic.network()
    return explain_kernel(network, of or schedule(), synthetic.blocks(), synthetic.trace(), synthetic.chip(), number)


@pytest.mark.parametrize(
    ("layer", "number"), [("/conv1/Conv", 0), ("/conv1/Conv/Relu", 0), ("conv1", 0), ("/Add", 2), ("mean", 3)]
)
def test_a_layer_is_found_by_any_of_its_nodes_or_its_own_name(layer: str, number: int) -> None:
    assert find_kernel(synthetic.network(), layer, "net.onnx") == number


def missed(layer: str, first_node: str = "/conv1/Conv") -> Diagnostic:
    with pytest.raises(Refusal) as caught:
        find_kernel(synthetic.network(first_node), layer, "net.onnx")
    (found,) = caught.value.diagnostics
    assert (found.code, found.place, caught.value.exit_code) == ("BL0101", "net.onnx", 2)
    return found


def test_a_miss_is_guessed() -> None:
    assert missed("/conv2/Con").help == "did you mean /conv2/Conv?"
    assert missed("ONV2").help == "did you mean /conv2/Conv?"
    assert missed("/cnov2/Cnov").help.startswith("did you mean /conv2/Conv or ")
    assert missed("qqq").help.startswith("layers are /conv1/Conv, /conv2/Conv, /Add, ... (4 in all")
    assert missed("").help.startswith("layers are ")


def test_guesses_do_not_talk_to_the_terminal() -> None:
    assert "\x1b" not in missed("onv1", "/conv1/\x1b[2J").help


def test_a_resident_layer() -> None:
    found = explained(0)
    assert (found.weights, found.blocks, found.loads, found.places) == (
        "resident",
        1,
        0,
        (Place(core=0, array=0, blocks=1),),
    )
    assert (found.segment, found.segments, found.tile, found.tiles) == (0, 2, (5, 1), 2)
    assert found.why[0].startswith(
        "segments are the longest runs of layers that fit the 4 arrays together; this one holds"
    )
    assert found.why[1] == "a tile of 5 x 1 pixels is the largest that memory.input_bytes holds"
    assert found.critical is not None
    assert (found.critical.unit, found.critical.core, found.critical.share) == ("mvm", 0, pytest.approx(0.8))
    assert [share.unit for share in found.others] == ["dma_in"]
    assert found.waits == "the others wait for mvm; dma in, the next, is busy 14 %"
    assert (found.writes_per_cell, found.lifetime_inferences) == (0, None)


def test_a_network_that_stays_says_so() -> None:
    assert explained(0, schedule(resident=True)).why[0].startswith("all weights of the network fit the 4 arrays")


def test_a_cycled_layer() -> None:
    found = explained(1)
    assert (found.weights, found.blocks, found.loads) == ("cycled", 2, 2)
    assert found.places == (Place(core=0, array=1, blocks=2),)
    assert found.why[0] == (
        "4 blocks add up to the same sums, but a core has 2 arrays: they pass through 2 at a time, "
        "and all of them again for each of 1 tile"
    )
    assert found.why[1] == "one tile of 5 x 1 pixels is the whole output"
    assert "one slot only in the partial-sum buffer (mvm and vector take turns)" in found.waits
    assert (found.writes_per_cell, found.lifetime_inferences) == (2, 50_000_000)


def test_a_held_layer() -> None:
    found = explained(1, schedule(plan(1, 1, job("held", 2, rounds=3), tile=(2, 1))))
    assert found.tiles == 3
    assert "each core holds 2 of them at a time" in found.why[0]
    assert found.why[0].endswith("(3 rounds)")


@pytest.mark.parametrize(
    ("pixels", "bound"), [(64, "memory.psum_bytes"), (256, "memory.output_bytes"), (1, "memory.input_bytes")]
)
def test_the_buffer_that_bounds_a_tile(pixels: int, bound: str) -> None:
    """64 pixels x 16 columns x 4 bytes x 2 slots = 8192, the whole psum buffer; output and input are more roomy."""
    chip = synthetic.chip()
    if bound == "memory.output_bytes":
        from bitline.target.load import changed

        chip = changed(chip, ["memory.psum_bytes=1048576"])
    of = schedule(plan(0, 0, job("resident", 1), tile=(1, pixels)))
    of = replace(of, kernels=(of.kernels[1], *of.kernels[1:]))
    found = explain_kernel(synthetic.network(), of, synthetic.blocks(), synthetic.trace(), chip, 0)
    assert found.why[-1].endswith(f"the largest that {bound} holds")


def test_a_layer_in_which_units_wait() -> None:
    found = explained(2)
    assert found.critical is not None
    assert (found.weights, found.places, found.tiles, found.critical.share) == ("none", (), 0, pytest.approx(0.2))
    assert found.waits == "vector alone works, 20 % of the time; the rest is waiting for other layers and cores"


def test_two_units_that_wait_for_one_another() -> None:
    trace = synthetic.trace()
    trace = replace(trace, spans=(*trace.spans, synthetic.span(2, "dma_in", 6_000_000, 9_000_000, 500_000)))
    found = explain_kernel(synthetic.network(), schedule(), synthetic.blocks(), trace, synthetic.chip(), 2)
    assert found.waits.startswith("no unit works for half of the time: vector (20 %) and dma in (17 %) wait")


def test_a_layer_without_work() -> None:
    found = explained(3)
    assert (found.critical, found.others, found.energy) == (None, (), ())
    assert found.waits == "nothing to wait for: no unit works for this layer"
    assert "bound by" not in explanation_text(found, [], 10.0)
    assert explanation_json(found, [], 10.0)["critical"] is None


def test_energy_is_split_by_unit_the_largest_first() -> None:
    found = explained(1)
    assert [(part.unit, part.share) for part in found.energy] == [
        ("write", pytest.approx(5 / 7)),
        ("mvm", pytest.approx(2 / 7)),
    ]
    assert found.energy_nj == pytest.approx(70)


def lever(key: str, layer_us: float, *, before: float = 8192, after: float = 16384, replanned: bool = True) -> Lever:
    change = Change(key=key, before=before, after=after)
    return Lever(change=change, replanned=replanned, layer_us=layer_us, latency_us=9.0, tiles=1, loads=1)


def test_the_text_names_everything() -> None:
    levers = [
        lever("memory.psum_bytes", 1.5),
        lever("array.write_row_ns", 1.0, before=85.7, after=42.85, replanned=False),
    ]
    text = explanation_text(explained(1), levers, 10.0)
    assert text.startswith("/conv2/Conv: kernel 1 (MatMul)\n")
    for words in (
        "1 array: core 0 arrays 1",
        "2, cycled, 2 writes per inference",
        "2 writes per inference of the worst cell: lasts 50,000,000 inferences",
        "2 of 2",
        "3.00 us, 30.0 % of the inference (10.0 us)",
        "70.00 nJ, 70.0 % of the inference: write 71 %, mvm 29 %",
        "cheapest lever: memory.psum_bytes 8,192 -> 16,384 bytes: layer 3.00 -> 1.50 us (-50 %), inference 9.0 us, "
        "writes 2 -> 1 (planned again)",
        "array.write_row_ns 85.7 -> 42.85 ns: layer 3.00 -> 1.00 us (-67 %)",
        "(same program)",
    ):
        assert words in text


def test_levers_that_save_nothing_are_named_as_tried() -> None:
    text = explanation_text(explained(1), [lever("memory.psum_bytes", 3.0)], 10.0)
    assert "no lever: doubling (or halving) one of memory.psum_bytes saves less than 1 % of the layer" in text
    assert explanation_json(explained(1), [lever("memory.psum_bytes", 3.0)], 10.0)["lever"] is None


def test_json_holds_the_same_values() -> None:
    found = explanation_json(explained(1), [lever("memory.psum_bytes", 1.5)], 10.0)
    assert (found["layer"], found["weights"], found["loads"]) == ("/conv2/Conv", "cycled", 2)
    assert found["energy_by_unit_nj"] == {"write": pytest.approx(50), "mvm": pytest.approx(20)}
    assert found["places"] == [{"core": 0, "array": 1, "blocks": 2}]
    assert isinstance(found["lever"], dict)
    assert found["lever"] == {
        "key": "memory.psum_bytes",
        "before": 8192,
        "after": 16384,
        "replanned": True,
        "layer_us": 1.5,
        "latency_us": 9.0,
        "saved_share": pytest.approx(0.5),
        "tiles": 1,
        "loads": 1,
    }


def test_hostile_names_are_escaped() -> None:
    network = synthetic.network("/conv1/\x1b[2J")
    found = explain_kernel(network, schedule(), synthetic.blocks(), synthetic.trace(), synthetic.chip(), 0)
    assert "\x1b" not in explanation_text(found, [], 10.0)


def test_many_arrays_are_told_in_ranges() -> None:
    places = tuple(Place(core=c, array=a, blocks=1) for c in range(8) for a in (0, 1, 2, 5))
    text = explanation_text(replace(explained(0), places=places), [], 10.0)
    assert "32 arrays: core 0 arrays 0-2+5, core 1 arrays 0-2+5" in text
    assert text.count("arrays 0-2+5") == 6
    assert "and 2 more cores" in text


def test_counted() -> None:
    assert (counted(1, "tile"), counted(0, "tile"), counted(1200, "tile")) == ("1 tile", "0 tiles", "1,200 tiles")
