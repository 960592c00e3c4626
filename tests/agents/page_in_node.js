// Runs a game page's own script with a document that notes what is done to it.
"use strict";
const fs = require("fs"), vm = require("vm");
const page = fs.readFileSync(process.argv[2], "utf8");
const asked = JSON.parse(process.argv[3]);
const part = (start, end) => { const from = page.indexOf(start) + start.length; return page.slice(from, page.indexOf(end, from)); };
const drawn = { calls: 0, arcs: [] }, errors = [];
const pen = () => new Proxy({}, {
  get: (own, name) => (name in own ? own[name] : (...a) => { drawn.calls++; if (name === "arc") drawn.arcs.push(a); }),
  set: (own, name, value) => { own[name] = value; return true; },
});
function element(id) {
  const listeners = {}, attributes = {};
  const own = {
    id, textContent: "", width: 1080, height: 520, options: { length: 6 }, selectedIndex: 3, children: [], value: "1",
    addEventListener: (kind, f) => { listeners[kind] = f; }, setAttribute: (k, v) => { attributes[k] = v; },
    append: (child) => own.children.push(child), getBoundingClientRect: () => ({ left: 0, width: 1080 }),
    listeners, attributes,
  };
  const context = pen();
  own.getContext = () => context;
  return own;
}
const elements = {};
const byId = (id) => (elements[id] ??= element(id));
byId("facts").textContent = part('<script id="facts" type="application/json">', "</script>");
byId("blob").textContent = part('<script id="blob" type="text/plain">', "</script>");
const frames = [];
const keys = {};
const document = {
  getElementById: byId, createElement: () => element("new"),
  addEventListener: (kind, f) => { keys[kind] = f; },
};
const context = vm.createContext({
  document, atob, Blob, Response, DecompressionStream, Uint8Array, Float32Array, Int32Array, Int16Array, Uint16Array,
  Int8Array, requestAnimationFrame: (f) => frames.push(f), console,
});
const from = page.lastIndexOf("<script>") + 8;
vm.runInContext(page.slice(from, page.indexOf("</script>", from)), context);
const run = (code) => vm.runInContext(code, context);
const press = (key, shiftKey = false) => keys.keydown({ key, shiftKey, preventDefault() {}, target: { tagName: "BODY" } });
(async () => {
  await run("ready");
  const values = asked.frames.map((frame) => {
    run(`show(${frame})`);
    return Object.fromEntries(asked.columns.map((name) => [name, run(`Array.from({length: column[${JSON.stringify(name)}].width}, (_, k) => get(${JSON.stringify(name)}, at, k))`)]));
  });
  run("show(5)");
  const walk = [];
  for (const [key, shift] of [["ArrowRight"], ["ArrowRight", true], ["ArrowLeft"], ["Home"], ["End"]]) { press(key, shift); walk.push(run("at")); }
  elements.scrub.listeners.input({ target: { value: "7" } });
  walk.push(run("at"));
  press(" ");
  let now = 1000;
  for (let k = 0; k < 5; k++) { const next = frames.shift(); next && next(now); now += 100; }
  walk.push(run("at"), run("playing"));
  press(" ");
  walk.push(run("playing"));
  if (elements.worst && elements.worst.children.length) elements.worst.children[0].children[0].listeners.click();
  run("show(7)");
  drawn.arcs.length = 0;
  run("drawStage(7)");
  const place = run("view(7)(get('p.x', 7, 0), get('p.y', 7, 0))");
  process.stdout.write(JSON.stringify({
    values, walk, calls: drawn.calls, arcs: drawn.arcs.slice(0, 4), place, title: elements.title.textContent,
    hud: elements.hud0.textContent, live: elements.live.textContent,
    worst: elements.worst ? elements.worst.children.map((c) => c.children[0].textContent) : [], global: run("typeof injected"),
  }));
})().catch((error) => { console.error(error); process.exit(1); });
