"use strict";
// Puts the columns together and draws a frame of them. `show(frame)` is all there is to it.
const byId = (id) => document.getElementById(id);
const facts = JSON.parse(byId("facts").textContent);
const BUTTONS = ["A", "B", "X", "Y", "Z", "L", "R", "up"];
const COLOURS = ["#ff8a5c", "#5cb8ff"];
const column = {};
let frames = 0, at = 0, playing = false, last = 0, due = 0;

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Planes of bytes, one per cell and byte, back to values [frames, width].
function gather(bytes, place) {
  const Type = { Float32Array, Int32Array, Int16Array, Uint16Array, Int8Array, Uint8Array }[place.type];
  const size = Type.BYTES_PER_ELEMENT, count = place.size / size, rows = count / place.width;
  const out = new Uint8Array(place.size);
  for (let byte = 0; byte < size; byte++)
    for (let cell = 0; cell < place.width; cell++) {
      const from = place.start + (byte * place.width + cell) * rows;
      for (let row = 0; row < rows; row++)
        out[(row * place.width + cell) * size + byte] = bytes[from + row];
    }
  return { values: new Type(out.buffer), width: place.width, rows };
}

const get = (name, frame, cell = 0) => column[name].values[frame * column[name].width + cell];

// -- The stage ------------------------------------------------------------------------------------

function view(frame) {
  const [left, right, top, bottom] = facts.stage.zones, edge = facts.stage.edge;
  let x0 = -edge - 30, x1 = edge + 30, y0 = -50, y1 = 90;
  for (let p = 0; p < 2; p++) {
    const x = get("p.x", frame, p), y = get("p.y", frame, p);
    x0 = Math.min(x0, x - 20); x1 = Math.max(x1, x + 20);
    y0 = Math.min(y0, y - 20); y1 = Math.max(y1, y + 35);
  }
  x0 = Math.max(x0, left); x1 = Math.min(x1, right); y0 = Math.max(y0, bottom); y1 = Math.min(y1, top);
  const canvas = byId("stage");
  const scale = Math.min(canvas.width / (x1 - x0), canvas.height / (y1 - y0));
  const middle = [(x0 + x1) / 2, (y0 + y1) / 2];
  return (x, y) => [
    canvas.width / 2 + (x - middle[0]) * scale, canvas.height / 2 - (y - middle[1]) * scale, scale,
  ];
}

function line(pen, to, x0, x1, y) {
  pen.beginPath(); pen.moveTo(...to(x0, y).slice(0, 2)); pen.lineTo(...to(x1, y).slice(0, 2)); pen.stroke();
}

function circle(pen, to, x, y, radius, fill) {
  const [sx, sy, scale] = to(x, y);
  pen.beginPath(); pen.arc(sx, sy, Math.max(1.5, radius * scale), 0, 2 * Math.PI);
  if (fill) pen.fill(); else pen.stroke();
}

function ground(pen, to, frame) {
  const stage = facts.stage;
  pen.lineWidth = 4; pen.strokeStyle = "#8d97a5"; line(pen, to, -stage.edge, stage.edge, 0);
  pen.lineWidth = 2;
  const isTransformed = stage.id === 3 && stage.words[1][get("s.stadium", frame)];
  (stage.platforms || []).forEach((place, index) => {
    if (!place || isTransformed) return;
    let height = place[0];
    if (stage.id === 2 && index < 2) height = 0.75 * get(index ? "s.fod_right" : "s.fod_left", frame) + 1.125;
    line(pen, to, place[1], place[2], height);
  });
  if (stage.id === 8) {
    const x = get("s.randall_x", frame), y = get("s.randall_y", frame);
    pen.strokeStyle = "#e8e8e8"; line(pen, to, x - 6, x + 6, y);
  }
}

function body(pen, to, x, y, height, radius) {
  const [sx, sy, scale] = to(x, y), r = radius * scale, h = Math.max(height * scale, 2 * r);
  pen.beginPath(); pen.arc(sx, sy - r, r, 0, Math.PI); pen.arc(sx, sy - h + r, r, Math.PI, 2 * Math.PI);
  pen.closePath(); pen.fill();
}

function fighter(pen, to, frame, p) {
  const x = get("p.x", frame, p), y = get("p.y", frame, p), facing = get("p.facing", frame, p) ? 1 : -1;
  const character = get("p.character", frame, p), height = facts.sizes[character] || 12;
  pen.fillStyle = COLOURS[p];
  pen.globalAlpha = get("p.invulnerable", frame, p) ? 0.5 : 1;
  body(pen, to, x, y, height, 3);
  if (get("n.exists", frame, p)) body(pen, to, get("n.x", frame, p), get("n.y", frame, p), height * 0.9, 2.5);
  pen.globalAlpha = 1;
  pen.fillStyle = "#14161a"; circle(pen, to, x + 1.6 * facing, y + height - 3, 0.9, true);
  pen.strokeStyle = COLOURS[p]; pen.lineWidth = 2;
  const [sx, sy, scale] = to(x, y + height / 2);
  pen.beginPath(); pen.moveTo(sx, sy); pen.lineTo(sx + 6 * scale * facing, sy); pen.stroke();
  const action = get("p.action", frame, p);
  if (action >= 178 && action <= 182) circle(pen, to, x, y + height / 2, 2 + get("p.shield", frame, p) / 6, false);
  const boxes = (facts.hitboxes[`${character}:${action}`] || {})[get("p.action_frame", frame, p)] || [];
  pen.fillStyle = "rgba(255,60,60,.55)";
  for (let k = 0; k < boxes.length; k += 3) circle(pen, to, x + boxes[k] * facing, y + boxes[k + 1], boxes[k + 2], true);
}

function items(pen, to, frame) {
  pen.fillStyle = "#ffe066";
  for (let k = 0; k < column["i.exists"].width; k++)
    if (get("i.exists", frame, k)) circle(pen, to, get("i.x", frame, k), get("i.y", frame, k), 1.5, true);
}

function drawStage(frame) {
  const canvas = byId("stage"), pen = canvas.getContext("2d"), to = view(frame);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  ground(pen, to, frame);
  for (let p = 0; p < 2; p++) fighter(pen, to, frame, p);
  items(pen, to, frame);
}

// -- Controllers and words ------------------------------------------------------------------------

function drawPad(frame, p) {
  const canvas = byId(`pad${p}`), pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  [["c.main_x", "c.main_y", 70, "#ccc"], ["c.c_x", "c.c_y", 450, "#ffe066"]].forEach(([a, b, cx, colour]) => {
    pen.strokeStyle = "#555"; pen.beginPath(); pen.arc(cx, 60, 45, 0, 2 * Math.PI); pen.stroke();
    const x = get(a, frame, p) / facts.steps[a], y = get(b, frame, p) / facts.steps[b];
    pen.fillStyle = colour; pen.beginPath(); pen.arc(cx + 45 * x, 60 - 45 * y, 9, 0, 2 * Math.PI); pen.fill();
  });
  const held = get("c.buttons", frame, p);
  pen.font = "14px system-ui"; pen.textAlign = "center";
  BUTTONS.forEach((name, bit) => {
    const x = 155 + 30 * bit, down = held >> bit & 1;
    pen.fillStyle = down ? COLOURS[p] : "#2a2e36"; pen.beginPath(); pen.arc(x, 45, 13, 0, 2 * Math.PI); pen.fill();
    pen.fillStyle = down ? "#000" : "#9aa3af"; pen.fillText(name, x, 50);
  });
  pen.fillStyle = "#2a2e36"; pen.fillRect(145, 80, 230, 12);
  pen.fillStyle = COLOURS[p]; pen.fillRect(145, 80, 230 * get("c.shoulder", frame, p) / facts.steps["c.shoulder"], 12);
}

function told(frame, p) {
  const number = (name) => get(name, frame, p);
  const lag = number("p.hitlag") ? `  hitlag ${number("p.hitlag")}` : "";
  const stun = number("p.hitstun") ? `  hitstun ${number("p.hitstun")}` : "";
  const win = column.win ? `   wins with ${Math.round((p ? 255 - get("win", frame) : get("win", frame)) / 2.55)} %` : "";
  return `${facts.players[p].name} · ${facts.characters[number("p.character")]}\n`
    + `${number("p.percent").toFixed(1)} %   stocks ${number("p.stock")}   shield ${number("p.shield").toFixed(0)}${win}\n`
    + `${facts.actions[number("p.action")]} ${number("p.action_frame")}${lag}${stun}`;
}

// -- The policy's opinion -------------------------------------------------------------------------

function drawBars(frame, p) {
  const canvas = byId(`bars${p}`), pen = canvas.getContext("2d"), sizes = facts.policy.sizes;
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.font = "11px system-ui"; pen.textAlign = "left";
  const width = column.chances.width / 2, targets = column.targets.width / 2;
  const chance = (k) => column.chances.values[(frame * 2 + p) * width + k] / 255;
  const target = (k) => column.targets.values[(frame * 2 + p) * targets + k];
  let start = 0, place = 0, x = 6;
  for (const [name, size] of Object.entries(sizes)) {
    const bar = 5, span = size * bar;
    pen.fillStyle = "#9aa3af"; pen.fillText(name.replace("_", " "), x, 144);
    for (let k = 0; k < size; k++) {
      const human = name === "buttons" ? target(k) === 1 : target(place) === k;
      const height = 120 * chance(start + k);
      pen.fillStyle = human ? "#fff" : COLOURS[p]; pen.fillRect(x + k * bar, 130 - height, bar - 1, height + 1);
      if (human) pen.fillRect(x + k * bar, 132, bar - 1, 3);
    }
    start += size; place += name === "buttons" ? size : 1; x += Math.max(span, 45) + 10;
  }
}

let timeline = null;
function drawSurprise(frame) {
  const canvas = byId("surprise"), pen = canvas.getContext("2d"), w = canvas.width, h = canvas.height;
  if (!timeline) {
    timeline = [0, 1].map((p) => Array.from({ length: w }, (_, x) => {
      let most = 0;
      const end = Math.max(Math.floor((x + 1) * frames / w), Math.floor(x * frames / w) + 1);
      for (let f = Math.floor(x * frames / w); f < Math.min(end, frames); f++) most = Math.max(most, get("nats", f, p));
      return most;
    }));
  }
  const top = Math.max(1, ...timeline[0], ...timeline[1]);
  pen.clearRect(0, 0, w, h);
  timeline.forEach((values, p) => {
    pen.fillStyle = COLOURS[p]; pen.globalAlpha = 0.7;
    values.forEach((value, x) => pen.fillRect(x, p ? h / 2 : h / 2 - h / 2 * value / top, 1, h / 2 * value / top));
  });
  pen.globalAlpha = 1;
  if (column.win) {
    pen.strokeStyle = "#e6e6e6"; pen.lineWidth = 1; pen.beginPath();
    for (let x = 0; x < w; x++) pen.lineTo(x, h - h * get("win", Math.floor(x * frames / w)) / 255);
    pen.stroke();
  }
  pen.fillStyle = "#fff"; pen.fillRect(Math.floor(frame * w / frames), 0, 1, h);
}

function opinion() {
  if (!facts.policy) return;
  byId("opinion").hidden = false;
  byId("about").textContent = `Bars: how likely the policy finds each button, stick position and trigger of frame f + ${1 + facts.policy.delay}; white is what the player did. Mean surprise ${facts.policy.mean.toFixed(3)} nats a frame.${column.win ? " The line below is how likely the first player's win is." : ""}`;
  for (const [frame, p] of facts.policy.worst) {
    const entry = document.createElement("li"), button = document.createElement("button");
    button.textContent = `frame ${get("frame", frame)}: ${get("nats", frame, p).toFixed(1)} nats, ${facts.players[p].name}`;
    button.addEventListener("click", () => { pause(); show(frame); });
    entry.append(button); byId("worst").append(entry);
  }
  byId("surprise").addEventListener("click", (event) => {
    const box = byId("surprise").getBoundingClientRect();
    pause(); show(Math.floor((event.clientX - box.left) / box.width * frames));
  });
}

// -- Time -----------------------------------------------------------------------------------------

function show(frame) {
  at = Math.max(0, Math.min(frames - 1, Math.round(frame)));
  drawStage(at);
  for (let p = 0; p < 2; p++) { drawPad(at, p); byId(`hud${p}`).textContent = told(at, p); }
  if (facts.policy) { for (let p = 0; p < 2; p++) drawBars(at, p); drawSurprise(at); }
  byId("scrub").value = at;
  const seconds = Math.max(0, get("frame", at)) / 60, [name, words] = facts.stage.words || ["frame", {}];
  const moved = words[get(name, at)];
  byId("clock").textContent = `frame ${get("frame", at)}, ${seconds.toFixed(1)} s${moved ? `, ${moved}` : ""}`;
}

function tell() { byId("live").textContent = `frame ${get("frame", at)}. ${told(at, 0)}. ${told(at, 1)}`; }
function pause() { playing = false; byId("play").textContent = "Play"; byId("play").setAttribute("aria-pressed", "false"); tell(); }
function play() {
  if (at >= frames - 1) show(0);
  playing = true; last = 0; due = at; byId("play").textContent = "Pause"; byId("play").setAttribute("aria-pressed", "true");
  requestAnimationFrame(tick);
}
function tick(now) {
  if (!playing) return;
  if (last) due += (now - last) * 0.06 * Number(byId("speed").value);
  last = now;
  if (Math.floor(due) !== at) show(Math.floor(due));
  if (at >= frames - 1) pause(); else requestAnimationFrame(tick);
}
function step(by) { pause(); show(at + by); tell(); }
function faster(by) {
  const choice = byId("speed");
  choice.selectedIndex = Math.max(0, Math.min(choice.options.length - 1, choice.selectedIndex + by));
}

const KEYS = {
  " ": () => (playing ? pause() : play()), ArrowLeft: (e) => step(e.shiftKey ? -10 : -1),
  ArrowRight: (e) => step(e.shiftKey ? 10 : 1), Home: () => step(-frames), End: () => step(frames),
  ",": () => faster(-1), ".": () => faster(1),
};
function onKey(event) {
  const on = event.target && event.target.tagName;
  if (!KEYS[event.key] || on === "SELECT" || (on === "BUTTON" && event.key === " ")) return;
  event.preventDefault(); KEYS[event.key](event);
}

async function begin() {
  const bytes = await inflate(byId("blob").textContent.trim());
  for (const place of facts.columns) column[place.name] = gather(bytes, place);
  frames = column.frame.rows;
  byId("title").textContent = `${facts.players[0].name} against ${facts.players[1].name}, ${facts.title}`;
  byId("scrub").max = frames - 1;
  byId("scrub").addEventListener("input", (event) => { if (playing) pause(); show(Number(event.target.value)); });
  byId("play").addEventListener("click", () => (playing ? pause() : play()));
  byId("back").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  document.addEventListener("keydown", onKey);
  opinion(); show(0);
}
const ready = begin();
