"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const [KERNEL, MATRIX, COPY, INDEX, ROW_OFFSET, COL_OFFSET, ROWS, COLS, CORE, ARRAY, ROW, COL, FROM, TO, ROUND, LOADS] =
    Array(16).keys();
  const kernelName = (k) => (k < 0 ? "no layer" : `#${k} ${data.kernels[k][0]}`);
  const us = (ps) => (ps / 1e6).toFixed(3);

  // Tooltips: titles of the page, and blocks and bars from the data.
  const tip = byId("tip");
  for (const el of document.querySelectorAll("[title]")) {
    el.dataset.tip = el.title;
    el.removeAttribute("title");
  }
  const blockTip = (b) =>
    [
      kernelName(b[KERNEL]),
      `matrix ${data.matrices[b[MATRIX]]}${b[COPY] ? `, copy ${b[COPY]}` : ""}`,
      `matrix rows ${b[ROW_OFFSET]} to ${b[ROW_OFFSET] + b[ROWS] - 1}, columns ${b[COL_OFFSET]} to ${b[COL_OFFSET] + b[COLS] - 1}`,
      `core ${b[CORE]}, array ${b[ARRAY]}, rows ${b[ROW]} to ${b[ROW] + b[ROWS] - 1}, columns ${b[COL]} to ${b[COL] + b[COLS] - 1}`,
      `${b[ROWS]} x ${b[COLS]} weights, number ${b[INDEX]} in dependency order`,
      b[LOADS] === 0
        ? "written once, before the first inference"
        : `written ${b[LOADS]} time${b[LOADS] > 1 ? "s" : ""} per inference, there ${
            b[FROM] === b[TO] ? `while layer #${b[FROM]} runs, round ${b[ROUND] + 1}` : `from layer #${b[FROM]} to #${b[TO]}`
          }`,
    ].join("\n");
  const spanTip = ([kernel, core, unit, start, end, busy, instructions]) => {
    const share = end > start ? (100 * busy) / (end - start) : 100;
    const nodes = kernel < 0 ? "" : data.kernels[kernel][2];
    return [
      `${kernelName(kernel)}${kernel < 0 ? "" : ` (${data.kernels[kernel][1]})`}`,
      ...(nodes && nodes !== data.kernels[kernel][0] ? [`ONNX: ${nodes}`] : []),
      `core ${core}, ${data.units[unit]}`,
      `start ${us(start)} us, duration ${us(end - start)} us`,
      `busy ${us(busy)} us, ${share.toFixed(0)} % of the duration`,
      `${instructions} instruction${instructions === 1 ? "" : "s"}`,
    ].join("\n");
  };
  const textFor = (target) => {
    const el = target.closest("[data-b],[data-s],[data-tip]");
    if (!el) return "";
    if (el.dataset.b !== undefined) return blockTip(data.blocks[el.dataset.b]);
    return el.dataset.s !== undefined ? spanTip(data.spans[el.dataset.s]) : el.dataset.tip;
  };
  document.addEventListener("pointermove", (event) => {
    const text = event.target instanceof Element ? textFor(event.target) : "";
    tip.hidden = !text;
    if (!text) return;
    if (tip.textContent !== text) tip.textContent = text;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
    tip.style.top = `${event.clientY + 18 + height > innerHeight ? event.clientY - height - 10 : event.clientY + 18}px`;
  });
  document.addEventListener("pointerleave", () => (tip.hidden = true));

  // Floor plan: which blocks lie in the arrays while a layer runs. Step -1: what stays between inferences.
  const drawn = [...document.querySelectorAll("g[data-b]")].map((el) => [el, data.blocks[el.dataset.b]]);
  const step = byId("step");
  const round = byId("round");
  const there = (b, at, turn) => {
    if (at < 0) return b[LOADS] === 0;
    if (at < b[FROM] || at > b[TO]) return false;
    return b[LOADS] === 0 || b[FROM] !== b[TO] || b[ROUND] === turn;
  };
  const matrixOf = new Map(data.blocks.map((b) => [b[KERNEL], b[MATRIX]]));
  const show = () => {
    const at = Number(step.value);
    const rounds = at < 0 ? 1 : data.rounds[at];
    round.max = rounds - 1;
    const turn = Number(round.value);
    byId("round-of").hidden = rounds < 2;
    byId("round-name").textContent = `${turn + 1} of ${rounds}`;
    byId("all").classList.toggle("on", at < 0);
    const held = new Map();
    let cells = 0;
    let count = 0;
    for (const [el, b] of drawn) {
      const visible = there(b, at, turn);
      const works = at >= 0 && (b[KERNEL] === at || b[MATRIX] === matrixOf.get(at));
      el.classList.toggle("off", !visible);
      el.classList.toggle("works", visible && works);
      el.classList.toggle("idle", visible && at >= 0 && !works);
      if (!visible) continue;
      const figure = el.closest("figure");
      held.set(figure, (held.get(figure) ?? 0) + b[ROWS] * b[COLS]);
      cells += b[ROWS] * b[COLS];
      count += 1;
    }
    const figures = document.querySelectorAll("figure");
    for (const figure of figures) {
      const part = (held.get(figure) ?? 0) / data.cells;
      figure.querySelector(".fill").textContent = part ? `${(100 * part).toFixed(0)} %` : "empty";
    }
    const name = at < 0 ? "what stays between inferences" : `while ${kernelName(at)} runs`;
    const part = data.arrays ? (100 * cells) / (data.arrays * data.cells) : 0;
    byId("step-name").textContent = `${name} `;
    const detail = document.createElement("small");
    detail.textContent = `${count} blocks, ${part.toFixed(1)} % of all cells`;
    byId("step-name").append(detail);
  };
  const goTo = (at) => {
    step.value = at;
    round.value = 0;
    show();
  };
  step.addEventListener("input", () => goTo(step.value));
  round.addEventListener("input", show);
  byId("all").addEventListener("click", () => goTo(-1));
  byId("before").addEventListener("click", () => goTo(Number(step.value) - 1));
  byId("after").addEventListener("click", () => goTo(Number(step.value) + 1));
  for (const caption of document.querySelectorAll("figcaption")) {
    caption.addEventListener("click", () => caption.parentElement.classList.toggle("big"));
  }
  const stays = data.blocks.some((b) => b[LOADS] === 0);
  goTo(stays || !data.blocks.length ? -1 : data.blocks.reduce((k, b) => Math.min(k, b[FROM]), Infinity));

  // The timeline moves sideways only: whoever clicks a row of the table wants to go on reading it.
  const scroll = byId("scroll");
  const bringIntoView = (bar) => {
    if (!bar) return;
    const place = bar.getBoundingClientRect().left - scroll.getBoundingClientRect().left;
    scroll.scrollLeft += place - scroll.clientWidth / 3;
  };

  // A chosen layer stands out in every picture; a second click lets it go.
  let chosen = null;
  const choose = (kernel) => {
    chosen = chosen === kernel ? null : kernel;
    byId("chosen").textContent =
      chosen === null ? "" : `rect[data-s]:not(.l${chosen}){opacity:.16}g[data-b]:not(.l${chosen}){fill:color-mix(in srgb,var(--c,#98a3ae) 18%,var(--lane))}`;
    for (const row of document.querySelectorAll("#layers tbody tr")) {
      row.classList.toggle("on", Number(row.dataset.k) === chosen);
    }
    return chosen !== null;
  };
  document.addEventListener("click", (event) => {
    const el = event.target.closest("[data-b],[data-s],tr[data-k]");
    if (!el) return;
    if (el.dataset.b !== undefined) choose(data.blocks[el.dataset.b][KERNEL]);
    else if (el.dataset.s !== undefined) choose(data.spans[el.dataset.s][0]);
    else if (choose(Number(el.dataset.k))) {
      goTo(el.dataset.k);
      bringIntoView(document.querySelector(`rect[data-s].l${chosen}`));
    }
  });

  // Timeline: enlarge around the middle of what is seen.
  if (scroll) {
    const chart = byId("chart");
    let zoom = 1;
    const enlarge = (by) => {
      const middle = (scroll.scrollLeft + scroll.clientWidth / 2) / scroll.scrollWidth;
      zoom = by ? Math.max(1, Math.min(64, zoom * by)) : 1;
      chart.style.setProperty("--zoom", zoom);
      chart.classList.toggle("z1", zoom >= 8);
      chart.classList.toggle("z2", zoom >= 64);
      scroll.scrollLeft = middle * scroll.scrollWidth - scroll.clientWidth / 2;
      byId("zoom-name").textContent = zoom > 1 ? `${zoom} x` : "";
    };
    byId("in").addEventListener("click", () => enlarge(2));
    byId("out").addEventListener("click", () => enlarge(0.5));
    byId("fit").addEventListener("click", () => enlarge(0));
  }

  // Table: numbers by size, texts by letter; a second click turns the order.
  const table = document.querySelector("#layers table");
  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("th");
    if (!head) return;
    const place = Number(head.dataset.column);
    const numeric = place === 0 || table.tBodies[0].rows[0]?.cells[place].classList.contains("n");
    const down = head.ariaSort ? head.ariaSort === "ascending" : numeric && place > 0;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.cells[place].dataset.v;
    const order = numeric ? (a, b) => key(a) - key(b) : (a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0);
    const rows = [...table.tBodies[0].rows].sort((a, b) => (down ? order(b, a) : order(a, b)));
    table.tBodies[0].append(...rows);
  });

  for (const controls of document.querySelectorAll(".controls")) controls.hidden = false;
})();
