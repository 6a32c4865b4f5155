// Decide by keyboard and in bulk. Captions reach the page as text only.
const { base, query } = document.body.dataset;
const byId = (id) => document.getElementById(id);
const items = [...document.querySelectorAll(".item")];
const [target, everything, pageAll, reviewer] = ["target", "everything", "page-all", "reviewer"].map(byId);
const SHOWN = { none: "not memorized" };
let current = Math.max(0, items.findIndex((item) => item.classList.contains("current")));
let busy = Promise.resolve();

if (reviewer) {
  reviewer.value = localStorage.getItem("memscan-reviewer") || document.body.dataset.reviewer;
  reviewer.addEventListener("change", () => localStorage.setItem("memscan-reviewer", reviewer.value.trim()));
}

const picks = () => items.filter((item) => item.querySelector(".pick")?.checked);
const say = (text, isError = false) => {
  if (!target) return;
  target.textContent = text;
  target.classList.toggle("error", isError);
};
const describe = () => {
  const picked = picks().length;
  if (everything?.checked) say(`Decides about all ${Number(everything.dataset.count).toLocaleString("en")} selected captions`);
  else if (picked) say(`Decides about ${picked} checked caption${picked === 1 ? "" : "s"}`);
  else if (items.length) say(`Decides about: ${items[current].querySelector(".text")?.textContent.trim() ?? "this caption"}`);
};
const move = (to) => {
  if (!items.length) return;
  items[current].classList.remove("current");
  current = Math.min(Math.max(0, to), items.length - 1);
  items[current].classList.add("current");
  items[current].focus({ preventScroll: true });
  items[current].scrollIntoView({ block: "nearest" });
  describe();
};
const badge = (text, extra = "") => {
  const span = document.createElement("span");
  span.className = `badge ${extra}`;
  span.textContent = text;
  return span;
};
const disputed = (stated) => ["label", "decision"].some((name) =>
  new Set(stated.map((one) => one[name]).filter((value) => value && value !== "unsure")).size > 1);
const show = (captions) => {
  for (const place of document.querySelectorAll(".stated")) {
    const stated = captions[place.dataset.stated];
    if (!stated) continue;
    place.replaceChildren(...stated.flatMap(({ reviewer, label, decision, note }) => [badge(
      `${reviewer}: ${[SHOWN[label] ?? label, decision, note && "note"].filter(Boolean).join(", ")}`,
      decision === "drop" ? "drop" : ""), " "]));
    if (disputed(stated)) place.append(badge("disputed", "disputed"));
  }
};
const post = async (path, body) => {
  const response = await fetch(`${base}/${path}`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  const answer = await response.json().catch(() => ({ error: `the server answered ${response.status}` }));
  if (!response.ok) throw new Error(answer.error);
  show(answer.captions);
  return answer;
};
// Requests run one after another, so decisions are stored in the order of the keys.
const send = (path, body, done) => {
  busy = busy.then(() => post(path, body)).then(done, (error) =>
    say(`Not stored: ${error.message}`, true));
  return busy;
};
const who = () => reviewer.value.trim() || document.body.dataset.reviewer;
const decide = (stated, goOn) => {
  if (!items.length) return;
  const picked = picks();
  const body = { reviewer: who(), stated, query };
  if (everything?.checked) {
    const count = Number(everything.dataset.count);
    if (!confirm(`Decide about ${count.toLocaleString("en")} captions?`)) return say("Nothing was decided");
    Object.assign(body, { selection: query, count });
  } else {
    body.captions = (picked.length ? picked : [items[current]]).map((item) => item.dataset.id);
  }
  const single = !everything?.checked && !picked.length;
  for (const item of picked) item.querySelector(".pick").checked = false;
  for (const box of [everything, pageAll]) if (box) box.checked = false;
  send("decide", body, ({ entry }) => {
    const what = Object.values(stated).map((value) => SHOWN[value] ?? value ?? "cleared").join(", ");
    const count = body.count || body.captions.length;
    say(`Stored as entry ${entry}: ${what}, ${count.toLocaleString("en")} caption${count === 1 ? "" : "s"}`);
  });
  if (!single || !goOn) return;
  if (items[current].closest(".single")) busy.then(() => document.querySelector("[rel=next]")?.click());
  else move(current + 1);
};
const undo = () => send("undo", { reviewer: who() }, ({ undone }) =>
  say(`Undone: ${undone} caption${undone === 1 ? "" : "s"}`));
const note = () => { byId("noting").hidden = false; byId("text").focus(); };

const open = () => items[current]?.querySelector("a.text")?.click();
const single = document.querySelector(".single") !== null;
const step = (by) => single
  ? document.querySelector(by > 0 ? "[rel=next]" : "[rel=prev]")?.click() : move(current + by);
const pick = () => {
  const box = items[current]?.querySelector(".pick");
  if (box) box.checked = !box.checked;
  describe();
};
const keys = {
  j: () => step(1), k: () => step(-1), ArrowDown: single ? null : () => step(1), ArrowUp: single ? null : () => step(-1),
  o: open, Enter: open, "/": () => document.querySelector("[name=q]")?.focus(),
};
if (target) Object.assign(keys, {
  x: pick, z: undo, m: note, 0: () => decide({ label: null, decision: null, note: "" }),
  v: () => decide({ label: "verbatim" }), t: () => decide({ label: "template" }),
  n: () => decide({ label: "none" }), u: () => decide({ label: "unsure" }),
  1: () => decide({ decision: "keep" }, true), 2: () => decide({ decision: "cap" }, true),
  3: () => decide({ decision: "drop" }, true),
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const at = event.target;
  if (at.matches("input:not([type=checkbox]), select, textarea")) {
    const leaves = event.key === "Escape" || (event.key === "Enter" && at === reviewer);
    if (leaves && items.length) move(current);
    else if (leaves) at.blur();
    return;
  }
  if (event.key === "Enter" && at.matches("a, button, summary")) return;
  const act = keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
for (const button of document.querySelectorAll("#bar [data-label]"))
  button.addEventListener("click", () => decide({ label: button.dataset.label }));
for (const button of document.querySelectorAll("#bar [data-decision]"))
  button.addEventListener("click", () => decide({ decision: button.dataset.decision }, true));
byId("clear")?.addEventListener("click", keys[0]);
byId("undo")?.addEventListener("click", undo);
byId("note")?.addEventListener("click", note);
byId("noting")?.addEventListener("submit", (event) => {
  event.preventDefault();
  decide({ note: byId("text").value });
  byId("noting").hidden = true;
  items[current]?.focus();
});
for (const [number, item] of items.entries()) {
  item.addEventListener("click", (event) => {
    if (!event.target.closest("a, input")) move(number);
  });
  item.querySelector(".pick")?.addEventListener("change", describe);
}
pageAll?.addEventListener("change", () => {
  for (const item of items) item.querySelector(".pick").checked = pageAll.checked;
  describe();
});
everything?.addEventListener("change", describe);
for (const bar of document.querySelectorAll(".histogram a")) {
  bar.addEventListener("click", (event) => {
    const here = new URLSearchParams(location.search);
    if (!event.shiftKey || !here.has("low")) return;
    event.preventDefault();
    here.set("low", Math.min(here.get("low"), bar.dataset.low));
    here.set("high", Math.max(here.get("high"), bar.dataset.high));
    location.search = here;
  });
}
const made = (name, ...children) => {
  const element = document.createElement(name);
  element.append(...children);
  return element;
};
const TRAINING = 4;
const showSamples = (place, { samples, others }) => {
  const images = document.querySelector("#images .images");
  for (const number of samples.slice(0, TRAINING).keys()) {
    const image = document.createElement("img");
    image.alt = `Training image of this caption, sample ${number + 1}`;
    image.loading = "lazy";
    image.src = `${place.dataset.image}${number}`;
    const link = made("a", image);
    link.href = image.src;
    link.dataset.picture = "reference";
    link.dataset.title = `training image, sample ${number + 1}`;
    images.append(made("figure", link, made("figcaption", `training image, sample ${number + 1}`)));
  }
  byId("images").hidden = !images.children.length;
  const links = others.map(({ caption_id, caption }) => {
    const link = made("a", caption);
    link.href = `${base}/caption/${encodeURIComponent(caption_id)}`;
    return made("li", link);
  });
  const files = samples.map(({ source, row, key }) => made("li", made("bdi", `${source}, row ${row}${key === null ? "" : `, key ${key}`}`)));
  place.replaceChildren(
    ...(links.length ? [made("h2", "Other captions of its images"), made("ul", ...links)] : []),
    made("details", made("summary", `Samples (${samples.length} shown)`), made("ul", ...files)));
};
// An image that cannot be shown is said so. Errors of images do not bubble.
document.addEventListener("error", ({ target: image }) => {
  if (image.matches?.("figure a img")) image.closest("a").replaceWith(made("p", `not available: ${image.alt}${
    "noImages" in document.body.dataset && image.closest("[data-picture=reference]")
      ? "; memscan review --images gives their location" : ""}`));
}, true);
const samples = byId("samples");
if (samples) {
  fetch(samples.dataset.url).then((response) => {
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    return response.json();
  }).then((answer) => showSamples(samples, answer), (error) => {
    samples.textContent = `The samples cannot be read: ${error.message}`;
  });
}
if (items.length) move(current);
