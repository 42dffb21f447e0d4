"use strict";

// One latent z is the state of the page: whatever changes it, all that shows it is drawn anew.

const SIDE = 8;
const GRID = 12; // Pictures across the map, which are decoded in one batch.
const REACH = 3; // Standard deviations of the prior that maps and sliders show.
const ACTIVE = 0.15; // Spread of the posterior means from which a dimension says something of x.

const $ = (id) => document.getElementById(id);
const clamp = (value) => Math.max(-REACH, Math.min(REACH, value));
let encoder, decoder, shown, z, active;
let backdrop = null; // The map without its marks.
const pad = { cells: new Float32Array(SIDE * SIDE), cursor: [3, 3], pen: 1 };
const running = new Map();

// Runs the newest of many calls of one kind, one at a time: a slider asks faster than is answered.
function latest(kind, work) {
  const before = running.get(kind);
  if (before) {
    before.next = work;
    return before.done;
  }
  const entry = { next: work };
  running.set(kind, entry);
  entry.done = (async () => {
    while (entry.next) {
      const now = entry.next;
      entry.next = null;
      await now();
    }
    running.delete(kind);
  })();
  return entry.done;
}

// The runtime takes one request of a session at a time.
let queue = Promise.resolve();
function run(session, feeds) {
  const answer = queue.then(() => session.run(feeds));
  queue = answer.catch(() => {});
  return answer;
}

async function decode(rows) {
  const flat = Float32Array.from(rows.flatMap((row) => Array.from(row)));
  const input = new ort.Tensor("float32", flat, [rows.length, z.length]);
  return (await run(decoder, { z: input })).x_mean.data;
}

async function encode(image) {
  const input = new ort.Tensor("float32", image, [1, SIDE, SIDE, 1]);
  return (await run(encoder, { x: input })).z_mean.data;
}

function normal() {
  const radius = Math.sqrt(-2 * Math.log(1 - Math.random()));
  return radius * Math.cos(2 * Math.PI * Math.random());
}

function paint(context, data, left, top, size) {
  const cell = size / SIDE;
  for (let k = 0; k < SIDE * SIDE; k++) {
    const grey = Math.round(255 * data[k]);
    context.fillStyle = `rgb(${grey} ${grey} ${grey})`;
    const x = left + (k % SIDE) * cell;
    const y = top + Math.floor(k / SIDE) * cell;
    context.fillRect(Math.floor(x), Math.floor(y), Math.ceil(cell), Math.ceil(cell));
  }
}

function showPicture() {
  return latest("picture", async () => {
    const start = performance.now();
    const mean = await decode([z]);
    const taken = performance.now() - start;
    const image = $("bits").checked ? mean.map((p) => (Math.random() < p ? 1 : 0)) : mean;
    paint($("picture").getContext("2d"), image, 0, 0, $("picture").width);
    $("time").textContent = `decoded in ${taken.toFixed(1)} ms`;
  });
}

// The map: two dimensions of z around the point where it stands, all others as they are.

const axes = () => [Number($("across").value), Number($("up").value)];
const toMap = (value, size) => ((value + REACH) / (2 * REACH)) * size;

function showMap() {
  return latest("map", async () => {
    const [a, b] = axes();
    const rows = [];
    for (let row = 0; row < GRID; row++) {
      for (let column = 0; column < GRID; column++) {
        const point = Float32Array.from(z);
        point[a] = ((column + 0.5) / GRID) * 2 * REACH - REACH;
        point[b] = REACH - ((row + 0.5) / GRID) * 2 * REACH;
        rows.push(point);
      }
    }
    const images = await decode(rows);
    backdrop = document.createElement("canvas");
    backdrop.width = backdrop.height = $("map").width;
    const context = backdrop.getContext("2d");
    const size = backdrop.width / GRID;
    for (let k = 0; k < GRID * GRID; k++) {
      const image = images.subarray(k * SIDE * SIDE, (k + 1) * SIDE * SIDE);
      paint(context, image, (k % GRID) * size, Math.floor(k / GRID) * size, size - 1);
    }
    markMap();
  });
}

function markMap() {
  const canvas = $("map");
  const context = canvas.getContext("2d");
  const size = canvas.width;
  if (backdrop) context.drawImage(backdrop, 0, 0);
  context.fillStyle = "rgb(8 12 20 / 62%)";
  context.fillRect(0, 0, size, size);
  const [a, b] = axes();
  context.font = "600 11px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  shown.points.forEach((point, k) => {
    context.fillStyle = `hsl(${36 * shown.labels[k]} 85% 72%)`;
    context.fillText(shown.labels[k], toMap(point[a], size), toMap(-point[b], size));
  });
  context.strokeStyle = "white";
  context.lineWidth = 3;
  context.beginPath();
  context.arc(toMap(clamp(z[a]), size), toMap(clamp(-z[b]), size), 9, 0, 7);
  context.stroke();
  canvas.dataset.point = `${z[a].toFixed(2)},${z[b].toFixed(2)}`;
}

function showSliders() {
  for (const dimension of active) {
    $(`z${dimension}`).value = z[dimension];
    $(`o${dimension}`).value = z[dimension].toFixed(2);
  }
}

function moveTo(point, mapStays = false) {
  z = Float32Array.from(point);
  showSliders();
  markMap();
  // The pictures of the map do not depend on the two dimensions that it shows.
  return Promise.all([showPicture(), mapStays ? null : showMap()]);
}

function moveOnMap(event) {
  const box = $("map").getBoundingClientRect();
  const [a, b] = axes();
  const point = Float32Array.from(z);
  point[a] = clamp(((event.clientX - box.left) / box.width) * 2 * REACH - REACH);
  point[b] = clamp(REACH - ((event.clientY - box.top) / box.height) * 2 * REACH);
  moveTo(point, true);
}

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

function stepOnMap(event) {
  const step = STEPS[event.key];
  if (!step) return;
  event.preventDefault();
  const point = Float32Array.from(z);
  axes().forEach((axis, k) => (point[axis] = clamp(point[axis] + 0.15 * step[k])));
  moveTo(point, true);
}

// The drawing pad.

function showPad() {
  const canvas = $("pad");
  const context = canvas.getContext("2d");
  paint(context, pad.cells, 0, 0, canvas.width);
  const cell = canvas.width / SIDE;
  context.strokeStyle = "rgb(128 128 128 / 45%)";
  context.lineWidth = 1;
  for (let k = 1; k < SIDE; k++) {
    context.strokeRect(k * cell, -1, 0, canvas.width + 2);
    context.strokeRect(-1, k * cell, canvas.width + 2, 0);
  }
  if (document.activeElement === canvas) {
    context.strokeStyle = "#4c9aff";
    context.lineWidth = 3;
    context.strokeRect(pad.cursor[0] * cell + 2, pad.cursor[1] * cell + 2, cell - 4, cell - 4);
  }
}

function drawn() {
  showPad();
  return latest("encode", async () => moveTo(await encode(Float32Array.from(pad.cells))));
}

function cellAt(event) {
  const box = $("pad").getBoundingClientRect();
  const place = (at, from, size) =>
    Math.max(0, Math.min(SIDE - 1, Math.floor(((at - from) / size) * SIDE)));
  pad.cursor = [
    place(event.clientX, box.left, box.width),
    place(event.clientY, box.top, box.height),
  ];
  return pad.cursor[1] * SIDE + pad.cursor[0];
}

function drawByKeys(event) {
  const step = STEPS[event.key];
  if (step) {
    event.preventDefault();
    pad.cursor = [(pad.cursor[0] + step[0] + SIDE) % SIDE, (pad.cursor[1] - step[1] + SIDE) % SIDE];
    showPad();
  } else if (event.key === " " || event.key === "Enter") {
    event.preventDefault();
    const cell = pad.cursor[1] * SIDE + pad.cursor[0];
    pad.cells[cell] = 1 - pad.cells[cell];
    drawn();
  }
}

// Drags begin on a canvas and end anywhere.
function draggable(canvas, begin, move) {
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    canvas.focus();
    begin(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (canvas.hasPointerCapture(event.pointerId)) move(event);
  });
}

function build() {
  const order = shown.spread.map((_, k) => k).sort((a, b) => shown.spread[b] - shown.spread[a]);
  active = order.filter((k) => shown.spread[k] > ACTIVE);
  if (active.length < 2) active = order.slice(0, 2);
  const silent = shown.spread.length - active.length;
  $("inactive").textContent =
    `${active.length} of ${shown.spread.length} dimensions differ between digits, most active first` +
    (silent ? `; the other ${silent} say nothing of them.` : ".");
  for (const dimension of active) {
    const label = document.createElement("label");
    label.innerHTML =
      `<span>z${dimension}</span><input type="range" id="z${dimension}" min="${-REACH}" ` +
      `max="${REACH}" step="0.05"><output id="o${dimension}"></output>`;
    $("sliders").append(label);
    $(`z${dimension}`).addEventListener("input", (event) => {
      const point = Float32Array.from(z);
      point[dimension] = Number(event.target.value);
      moveTo(point, axes().includes(dimension));
    });
  }
  [["across", 0], ["up", 1]].forEach(([id, place]) => {
    for (const dimension of active) $(id).append(new Option(`z${dimension}`, dimension));
    $(id).value = active[place];
    $(id).addEventListener("change", showMap);
  });
  draggable($("map"), moveOnMap, moveOnMap);
  $("map").addEventListener("keydown", stepOnMap);
  draggable(
    $("pad"),
    (event) => {
      const cell = cellAt(event);
      pad.pen = 1 - pad.cells[cell];
      pad.cells[cell] = pad.pen;
      drawn();
    },
    (event) => {
      const cell = cellAt(event);
      if (pad.cells[cell] === pad.pen) return;
      pad.cells[cell] = pad.pen;
      drawn();
    },
  );
  $("pad").addEventListener("keydown", drawByKeys);
  ["focus", "blur"].forEach((event) => $("pad").addEventListener(event, showPad));
  $("clear").addEventListener("click", () => {
    pad.cells.fill(0);
    showPad();
  });
  $("prior").addEventListener("click", () => moveTo(Array.from(z, normal)));
  $("centre").addEventListener("click", () => moveTo(new Float32Array(z.length)));
  $("bits").addEventListener("change", showPicture);
}

async function fetched(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}

async function start() {
  if (typeof ort === "undefined") throw new Error("vendor/ort.wasm.min.js is not there");
  ort.env.wasm.numThreads = 1; // Several need headers that plain file servers do not send.
  ort.env.wasm.wasmPaths = new URL("vendor/", document.baseURI).href;
  const files = ["model/encode.onnx", "model/decode.onnx", "model/latents.json"];
  const [first, second, third] = await Promise.all(files.map(fetched));
  shown = await third.json();
  encoder = await ort.InferenceSession.create(await first.arrayBuffer());
  decoder = await ort.InferenceSession.create(await second.arrayBuffer());
  z = new Float32Array(shown.spread.length);
  build();
  showPad();
  document.querySelector("main").hidden = false;
  await moveTo(z);
  $("status").textContent = "";
  document.body.dataset.ready = "yes";
}

start().catch((error) => {
  $("status").textContent = `The model could not be loaded: ${error.message}.`;
  $("missing").hidden = false;
});
