// Table of ranked captions. Search, facets, order and page are in the address (#q=dog&page=2), so
// that a link and the back button restore them; #caption-ID is the row of one caption.
const STEP = 50;
const byId = (id) => document.getElementById(id);
const table = byId("ranked");
const [search, grouped, count, clear, pages, page, previous, next, all] =
  ["search", "grouped", "count", "clear", "pages", "page", "previous", "next", "all"].map(byId);
const selects = [...document.querySelectorAll("[data-facet]")];
const heads = [...table.tHead.querySelectorAll("[data-column]")];
for (const option of selects.flatMap((select) => [...select.options])) option.dataset.label = option.text;
const valuesOf = (body, select) => {
  const numbers = body.dataset[select.dataset.facet];
  return numbers ? numbers.split(" ").map((number) => select.options[Number(number) + 1].value) : [];
};
// Each caption is a tbody, to keep its second row with it. Near-duplicates have the same cluster.
const captions = [...table.tBodies].map((body) => ({
  body,
  cluster: body.dataset.group,
  text: [...body.querySelectorAll(".text")].map((cell) => cell.textContent).join(" ").toLowerCase(),
  values: Object.fromEntries(selects.map((select) => [select.dataset.facet, valuesOf(body, select)])),
}));
const plain = {
  q: "", sort: "rank-up", grouped: grouped ? "yes" : "no", page: "1",
  ...Object.fromEntries(selects.map((select) => [select.dataset.facet, ""])),
};
// On narrow screens, each number has its column's name in front.
for (const { body } of captions)
  for (const { dataset, cellIndex } of heads.filter((head) => !head.classList.contains("text")))
    if (dataset.column !== "rank") body.rows[0].cells[cellIndex].dataset.name = dataset.column;
const opened = new Set();
const toggles = new Map();
let state = { ...plain };

const number = (value) => value.toLocaleString("en");
const plural = (value, thing) => `${number(value)} ${thing}${value === 1 ? "" : "s"}`;

// The captions that match, and per facet the number that each of its values would match.
const filtered = () => {
  const words = state.q.toLowerCase().split(/\s+/);
  const counts = Object.fromEntries(selects.map((select) => [select.dataset.facet, new Map()]));
  const names = Object.keys(counts);
  const matches = captions.filter(({ text, values }) => {
    if (!words.every((word) => text.includes(word))) return false;
    const failed = names.filter((name) => state[name] && !values[name].includes(state[name]));
    for (const name of failed.length ? failed : names)
      if (failed.length < 2)
        for (const value of values[name]) counts[name].set(value, (counts[name].get(value) ?? 0) + 1);
    return !failed.length;
  });
  return { matches, counts };
};
const sorted = (matches) => {
  const [, column, direction] = state.sort.match(/^(.*)-(up|down)$/);
  const head = heads.find((one) => one.dataset.column === column);
  const value = ({ body }) => body.rows[0].cells[head.cellIndex].dataset.value;
  const compare = head.classList.contains("text") ? (a, b) => a.localeCompare(b) : (a, b) => a - b;
  const sign = direction === "up" ? 1 : -1;
  // Captions without a value come last in both directions.
  return matches.map((one) => [value(one), one])
    .sort(([a], [b]) => (a === "") - (b === "") || sign * compare(a, b)).map(([, one]) => one);
};
const groupsOf = (matches) => {
  const groups = new Map();
  for (const one of matches) {
    const key = state.grouped === "yes" && !state.cluster && one.cluster || one;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(one);
  }
  return [...groups.values()];
};

const toggleOf = (cluster) => {
  if (!toggles.has(cluster)) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "toggle";
    button.addEventListener("click", () => {
      if (!opened.delete(cluster)) opened.add(cluster);
      show();
    });
    toggles.set(cluster, button);
  }
  return toggles.get(cluster);
};
const showGroup = ([first, ...others]) => {
  first.body.hidden = false;
  if (!others.length) return;
  const toggle = toggleOf(first.cluster);
  const isOpen = opened.has(first.cluster);
  toggle.textContent = `${isOpen ? "Hide" : "Show"} ${plural(others.length, "near-duplicate")}`;
  toggle.setAttribute("aria-expanded", isOpen);
  first.body.querySelector(".caption").append(toggle);
  for (const { body } of others) {
    body.hidden = !isOpen;
    body.classList.add("member");
  }
};
const showControls = (counts) => {
  if (search.value !== state.q) search.value = state.q;
  if (grouped) grouped.checked = state.grouped === "yes";
  for (const select of selects) {
    select.value = state[select.dataset.facet];
    for (const option of [...select.options].slice(1)) {
      const found = counts[select.dataset.facet].get(option.value) ?? 0;
      option.textContent = `\u2068${option.dataset.label}\u2069 (${number(found)})`;
      option.disabled = !found && !option.selected;
    }
  }
  clear.hidden = !state.q && selects.every((select) => !state[select.dataset.facet]);
  for (const head of heads) {
    const direction = { up: "ascending", down: "descending" }[state.sort.slice(head.dataset.column.length + 1)];
    if (state.sort.startsWith(`${head.dataset.column}-`) && direction) head.setAttribute("aria-sort", direction);
    else head.removeAttribute("aria-sort");
  }
};
const show = () => {
  const { matches, counts } = filtered();
  const groups = groupsOf(sorted(matches));
  const last = Math.max(1, Math.ceil(groups.length / STEP));
  const at = state.page === "all" ? 0 : Math.min(last, Math.max(1, parseInt(state.page, 10) || 1));
  if (at) state.page = String(at);
  const shown = at ? groups.slice((at - 1) * STEP, at * STEP) : groups;
  const focused = document.activeElement;
  for (const toggle of toggles.values()) toggle.remove();
  for (const { body } of captions) {
    body.hidden = true;
    body.classList.remove("member");
  }
  shown.forEach(showGroup);
  // The rows shown come first, in their order.
  table.tHead.after(...shown.flat().map(({ body }) => body));
  // Rows that are moved lose the keyboard focus.
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
  showControls(counts);
  const of = matches.length < captions.length ? `${number(matches.length)} of ` : "";
  const rows = groups.length < matches.length ? `, ${plural(groups.length, "row")}` : "";
  count.textContent = `${of}${plural(captions.length, "caption")}${rows}`;
  pages.hidden = groups.length <= STEP;
  page.textContent = at ? `Page ${number(at)} of ${number(last)}` : "";
  previous.hidden = next.hidden = !at;
  [previous.disabled, next.disabled] = [at <= 1, at >= last];
  all.textContent = at ? `Show all ${number(groups.length)} rows` : "Show pages";
};

const write = (method) => {
  const changed = Object.entries(state).filter(([name, value]) => value !== plain[name]);
  const query = new URLSearchParams(changed).toString();
  history[method](null, "", location.href.split("#")[0] + (query ? `#${query}` : ""));
};
const change = (changes) => {
  state = { ...state, page: "1", ...changes };
  show();
  write("pushState");
};
const turn = (to) => {
  change({ page: String(to) });
  table.scrollIntoView();
};
const read = () => {
  const given = new URLSearchParams(location.hash.slice(1));
  state = { ...plain };
  for (const name of Object.keys(plain)) state[name] = given.get(name) ?? plain[name];
  for (const { dataset, options } of selects)
    if (![...options].some(({ value }) => value === state[dataset.facet])) state[dataset.facet] = "";
  if (!grouped) state.grouped = "no";
  if (!heads.some((head) => [`${head.dataset.column}-up`, `${head.dataset.column}-down`].includes(state.sort)))
    state.sort = plain.sort;
};
const reveal = (caption) => {
  if (!filtered().matches.includes(caption)) state = { ...plain };
  const groups = groupsOf(sorted(filtered().matches));
  const at = groups.findIndex((group) => group.includes(caption));
  if (groups[at][0] !== caption) opened.add(caption.cluster);
  if (state.page !== "all") state.page = String(Math.floor(at / STEP) + 1);
  show();
  caption.body.scrollIntoView();
};
const follow = () => {
  const target = document.getElementById(decoded(location.hash.slice(1)));
  const caption = captions.find(({ body }) => body === target);
  if (caption) return reveal(caption);
  if (!location.hash || location.hash.includes("=")) read();
  show();
};
const decoded = (text) => {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    if (error instanceof URIError) return text;
    throw error;
  }
};

let typing;
search.addEventListener("input", () => {
  state = { ...state, q: search.value, page: "1" };
  show();
  // Browsers limit how often an address changes.
  clearTimeout(typing);
  typing = setTimeout(() => write("replaceState"), 300);
});
grouped?.addEventListener("change", () => change({ grouped: grouped.checked ? "yes" : "no" }));
for (const select of selects)
  select.addEventListener("change", () => change({ [select.dataset.facet]: select.value }));
clear.addEventListener("click", () => {
  change({ q: "", ...Object.fromEntries(selects.map((select) => [select.dataset.facet, ""])) });
  search.focus();
});
previous.addEventListener("click", () => turn(parseInt(state.page, 10) - 1));
next.addEventListener("click", () => turn(parseInt(state.page, 10) + 1));
all.addEventListener("click", () => turn(state.page === "all" ? 1 : "all"));
for (const head of heads) {
  const button = head.querySelector("button");
  button.disabled = false;
  button.addEventListener("click", () => {
    const [down, up] = [`${head.dataset.column}-down`, `${head.dataset.column}-up`];
    change({ sort: state.sort === down || (head.dataset.column === "rank" && state.sort !== up) ? up : down });
  });
}
addEventListener("hashchange", follow);
byId("controls").hidden = false;
follow();
if (location.hash.includes("=")) byId("ranking").scrollIntoView();
