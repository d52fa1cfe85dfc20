"""Proves that the table of blocks says what the residencies say, whatever the names."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

from bitline.ir.kernels import MatMul
from bitline.report.csv import placement_csv
from bitline.report.names import NO_KERNEL, kernel_of, matrix_users
from tests.report import synthetic


def test_the_fixed_columns_come_first_and_every_number_is_there() -> None:
    assert placement_csv(synthetic.blocks(), synthetic.network()) == (
        "core_id,index,w_row_start,w_col_start,rows,cols,node,row_offset,col_offset,"
        "array,matrix,copy,from_step,to_step,round,loads,cells_at\n"
        "0,0,8,4,32,16,/conv1/Conv,0,0,0,w1,0,0,3,0,0,0\n"
        "0,1,0,0,64,64,/conv2/Conv,0,0,1,w2,0,1,1,0,1,4096\n"
        "0,2,0,0,64,64,/conv2/Conv,64,0,1,w2,0,1,1,1,1,8192\n"
    )


def test_order_does_not_depend_on_the_order_of_the_blocks() -> None:
    network = synthetic.network()
    assert placement_csv(synthetic.blocks()[::-1], network) == placement_csv(synthetic.blocks(), network)


def test_commas_and_quotes_come_back() -> None:
    name = 'a,"b"'
    text = placement_csv(synthetic.blocks(), synthetic.network(name))
    assert [row["node"] for row in csv.DictReader(io.StringIO(text))] == [name, "/conv2/Conv", "/conv2/Conv"]


def test_line_breaks_and_formulas_are_escaped() -> None:
    text = placement_csv(synthetic.blocks(), synthetic.network("=1+1\nx"))
    assert next(csv.DictReader(io.StringIO(text)))["node"] == "'=1+1\\nx"


def test_every_one_of_many_blocks_has_a_line() -> None:
    network, blocks, _, _ = synthetic.large()
    rows = list(csv.DictReader(io.StringIO(placement_csv(blocks, network))))
    assert [int(row["index"]) for row in rows] == list(range(5000))


def test_tied_weights_belong_to_the_layer_that_runs_while_they_are_there() -> None:
    network = synthetic.network()
    first = network.kernels[0]
    assert isinstance(first, MatMul)
    users = matrix_users(replace(network, kernels=(first, *network.kernels[1:], replace(first, name="again"))))
    assert users["w1"] == (0, 4)
    block = synthetic.blocks()[0]
    assert kernel_of(block, users) == 0
    assert kernel_of(replace(block, from_step=3, to_step=4), users) == 4
    assert kernel_of(block, {}) == NO_KERNEL
