// Drives a game page as somebody would, and returns what it saw.
(async (asked) => {
  await ready;
  const press = (key, shiftKey = false) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey, bubbles: true, cancelable: true }));
  const paused = () => byId("play").getAttribute("aria-pressed") === "false";
  const frame = () => Number(byId("scrub").value);
  const walk = [];
  for (const [key, shift] of [["Home"], ["ArrowRight"], ["ArrowRight", true], ["ArrowLeft"], ["End"]]) { press(key, shift); walk.push(frame()); }
  byId("scrub").value = 7; byId("scrub").dispatchEvent(new Event("input")); walk.push(frame());
  press(" "); walk.push(paused());
  const ticks = [];
  const count = (now) => { ticks.push(now); if (!paused()) requestAnimationFrame(count); };
  requestAnimationFrame(count);
  while (ticks.length < 5) await new Promise(requestAnimationFrame);
  press(" "); walk.push(paused());
  const played = frame() - 7, ms = ticks[ticks.length - 1] - ticks[0];
  press("."); const faster = byId("speed").value;
  // The pixel where each player's middle should be, on the frames asked for.
  const canvas = byId("stage"), pen = canvas.getContext("2d");
  const pixels = asked.map((f) => { show(f); return [0, 1].map((p) => {
    const [x, y] = view(f)(get("p.x", f, p), get("p.y", f, p) + 2);
    return [get("p.x", f, p), get("p.y", f, p), Array.from(pen.getImageData(Math.round(x), Math.round(y), 1, 1).data)];
  }); });
  const worst = Array.from(document.querySelectorAll("#worst button"));
  const visited = worst.map((button) => { button.click(); return frame(); });
  const box = byId("surprise").getBoundingClientRect();
  if (worst.length) press(" ");
  if (worst.length) byId("surprise").dispatchEvent(new MouseEvent("click", { clientX: box.left + box.width / 2 }));
  const labelled = Array.from(document.querySelectorAll("canvas, input, button")).every((e) => e.getAttribute("aria-label") || e.textContent || e.closest("label"));
  return {
    walk, played, ms, ticks: ticks.length, faster, pixels, visited, middle: worst.length && paused() ? frame() : null, labelled, frames,
    live: byId("live").textContent, images: document.images.length, scripts: document.scripts.length,
    injected: typeof injected, title: byId("title").textContent, names: byId("hud0").textContent,
  };
})
