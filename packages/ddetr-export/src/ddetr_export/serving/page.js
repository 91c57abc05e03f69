"use strict";
const by = id => document.getElementById(id);
const colour = id => `hsl(${(id * 137.5) % 360} 80% 36%)`;
const MIB = 2 ** 20;
let file = null, image = null, answer = null, marked = null, latest = 0, limits = null;
const off = new Set(); // ids of classes that are not shown

fetch("health").then(reply => reply.json()).then(health => {
  const runs = health.providers[0].replace("ExecutionProvider", "");
  by("model").textContent = `${health.model} · ${health.categories.length} classes · ${health.input.width} × ${health.input.height} · ${runs}`;
  limits = health.limits;
  by("limits").textContent = `Files of at most ${limits.upload_mib} MiB and ${limits.megapixels} megapixels.`;
}).catch(() => fail("the server does not answer; is it still running?"));

function fail(reason) {
  by("reason").textContent = reason;
  by("error").hidden = false;
  by("again").hidden = file === null;
}

// The answer holds all detections: what is shown of it is chosen here, without asking again.
async function ask(content) {
  let reply;
  try {
    const headers = { "Content-Type": "application/octet-stream" };
    reply = await fetch("predict?threshold=0", { method: "POST", body: content, headers });
  } catch {
    throw new Error("the server does not answer; is it still running?");
  }
  const said = await reply.json().catch(() => ({}));
  if (reply.ok) return said;
  const reason = typeof said.detail === "string" ? said.detail : `the server refused it with status ${reply.status}`;
  const seconds = reply.headers.get("Retry-After");
  throw new Error(seconds === null ? reason : `${reason} (again after ${seconds} s)`);
}

async function detect(chosen) {
  const number = ++latest;
  file = chosen;
  by("error").hidden = true;
  if (limits && chosen.size > limits.upload_mib * MIB) {
    by("busy").hidden = true;
    fail(`${chosen.name} has ${(chosen.size / MIB).toFixed(1)} MiB; an image file may have at most ${limits.upload_mib} MiB`);
    return;
  }
  by("busy").hidden = false;
  try {
    const content = await ask(chosen);
    const bitmap = await createImageBitmap(chosen).catch(() => null); // a kind that only the server reads
    if (number !== latest) return;
    [image, answer, marked] = [bitmap, content, null];
    switches();
    show();
  } catch (error) {
    if (number === latest) fail(error.message);
  } finally {
    if (number === latest) by("busy").hidden = true;
  }
}

const least = () => Number(by("threshold").value);
const above = () => answer.detections.filter(each => each.score >= least());
const kept = () => above().filter(each => !off.has(each.category_id));

function show() {
  by("value").textContent = least().toFixed(2);
  command();
  if (!answer) return;
  const found = kept();
  by("drop").classList.add("filled");
  by("invitation").hidden = true;
  by("canvas").hidden = by("save").disabled = false;
  const blind = image ? "" : " This browser cannot show that kind of image.";
  by("summary").textContent = `${found.length} of ${answer.detections.length} detections in ${answer.image.width} × ${answer.image.height} pixels, ${(1000 * answer.seconds).toFixed(0)} ms.${blind}`;
  by("canvas").setAttribute("aria-label", `${file.name} with ${found.length} detections, which the list names`);
  by("list").replaceChildren(...found.map(row));
  count();
  draw(found);
}

function element(name, text = "") {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function chip(id) {
  const made = element("i");
  made.style.background = colour(id);
  return made;
}

// A box to tick for each class of the answer, with how many of it are above the least score.
function switches() {
  const names = new Map(answer.detections.map(each => [each.category_id, each.category]));
  const made = [...names].sort(([one], [other]) => one - other).map(([id, name]) => {
    const label = element("label"), box = element("input"), number = element("b");
    [box.type, box.checked, box.value, number.id] = ["checkbox", !off.has(id), id, `count-${id}`];
    box.addEventListener("change", () => { box.checked ? off.delete(id) : off.add(id); show(); });
    label.append(box, chip(id), element("span", name), number);
    return label;
  });
  by("switches").replaceChildren(...made);
  by("classes").hidden = made.length === 0;
}

function count() {
  const counts = new Map();
  for (const each of above()) counts.set(each.category_id, 1 + (counts.get(each.category_id) ?? 0));
  for (const box of by("switches").querySelectorAll("input"))
    by(`count-${box.value}`).textContent = counts.get(Number(box.value)) ?? 0;
}

function toggleAll(are_on) {
  for (const box of by("switches").querySelectorAll("input")) {
    box.checked = are_on;
    are_on ? off.delete(Number(box.value)) : off.add(Number(box.value));
  }
  show();
}

function row(each) {
  const item = element("li");
  item.append(chip(each.category_id), element("span", each.category), element("b", each.score.toFixed(2)));
  item.tabIndex = 0;
  const mark = what => () => { marked = what; draw(kept()); };
  for (const name of ["mouseenter", "focus"]) item.addEventListener(name, mark(each));
  for (const name of ["mouseleave", "blur"]) item.addEventListener(name, mark(null));
  return item;
}

function draw(found) {
  const canvas = by("canvas"), pen = canvas.getContext("2d");
  const { width, height } = answer.image;
  [canvas.width, canvas.height] = [width, height];
  pen.fillStyle = "grey";
  image ? pen.drawImage(image, 0, 0, width, height) : pen.fillRect(0, 0, width, height);
  // On a phone the canvas is shown smaller: words keep their size on the screen.
  const unit = Math.max(width / (canvas.clientWidth || width), 0.25);
  const letter = Math.max(10, Math.min(13, canvas.clientWidth / 45)) * unit;
  pen.font = `600 ${letter}px system-ui, sans-serif`;
  pen.textBaseline = "top";
  for (const each of [...found].reverse()) {
    const [left, top, right, bottom] = each.box_xyxy;
    pen.globalAlpha = marked && marked !== each ? 0.2 : 1;
    pen.strokeStyle = pen.fillStyle = colour(each.category_id);
    pen.lineWidth = letter / 5;
    pen.strokeRect(left, top, right - left, bottom - top);
    const text = `${each.category} ${each.score.toFixed(2)}`, tall = 1.4 * letter;
    const above = Math.max(0, top - tall), wide = pen.measureText(text).width + 8 * unit;
    const from = Math.max(0, Math.min(left - pen.lineWidth / 2, width - wide));
    pen.fillRect(from, above, wide, tall);
    pen.fillStyle = "white";
    pen.fillText(text, from + 4 * unit, above + 0.2 * letter);
  }
  pen.globalAlpha = 1;
}

const quoted = text => `'${text.replaceAll("'", `'\\''`)}'`;

// A line for a shell that gets what the page shows; the image lies in the folder it is called in.
function command() {
  const query = new URLSearchParams({ threshold: by("threshold").value });
  const boxes = [...by("switches").querySelectorAll("input")];
  const are_on = boxes.filter(box => box.checked);
  if (are_on.length < boxes.length) for (const box of are_on) query.append("category_id", box.value);
  const is_empty = boxes.length > 0 && are_on.length === 0;
  const name = quoted(`@${file ? file.name : "image.jpg"}`), address = quoted(new URL(`predict?${query}`, location.href).href);
  by("curl").textContent = is_empty ? "No class is chosen." : `curl --data-binary ${name} -H 'Content-Type: application/octet-stream' ${address}`;
  by("copy").disabled = is_empty;
  by("copied").textContent = "";
}

async function copy() {
  const text = by("curl").textContent;
  try {
    await navigator.clipboard.writeText(text);
    by("copied").textContent = "Copied.";
  } catch { // the clipboard is not for pages without TLS, save on this machine
    getSelection().selectAllChildren(by("curl"));
    by("copied").textContent = document.execCommand("copy") ? "Copied." : "It is marked: copy it with Ctrl+C.";
  }
}

function save() {
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify({ ...answer, detections: kept() }, null, 2)], { type: "application/json" }));
  link.download = "detections.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

by("file").addEventListener("change", event => {
  if (event.target.files.length) detect(event.target.files[0]);
  event.target.value = "";
});
by("threshold").addEventListener("input", show);
by("save").addEventListener("click", save);
by("copy").addEventListener("click", copy);
by("again").addEventListener("click", () => detect(file));
by("all").addEventListener("click", () => toggleAll(true));
by("none").addEventListener("click", () => toggleAll(false));
for (const name of ["dragenter", "dragover", "dragleave", "drop"])
  document.addEventListener(name, event => {
    event.preventDefault();
    by("drop").classList.toggle("over", name === "dragover" || name === "dragenter");
    if (name === "drop" && event.dataTransfer.files.length) detect(event.dataTransfer.files[0]);
  });
document.addEventListener("paste", event => {
  const pasted = [...event.clipboardData.files].find(each => each.type.startsWith("image/"));
  if (pasted) detect(pasted);
});
addEventListener("resize", () => { if (answer) draw(kept()); });
show();
