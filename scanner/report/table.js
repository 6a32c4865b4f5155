// The ranked captions, of which a page shows a few; search and sort go over all of them.
const STEP = 50;
const table = document.querySelector("#ranked");
const [search, count, further, more, all] = ["search", "count", "further", "more", "all"].map(
  (id) => document.getElementById(id));
// A caption is a tbody: what stands below it goes with it.
const captions = [...table.tBodies].map((body) => ({
  body,
  text: [...body.querySelectorAll(".text")].map((cell) => cell.textContent).join(" ").toLowerCase(),
}));
let most = STEP;

const show = () => {
  const words = search.value.toLowerCase().split(/\s+/);
  const found = captions.filter(({ text }) => words.every((word) => text.includes(word)));
  const shown = new Set(found.slice(0, most));
  for (const caption of captions) caption.body.hidden = !shown.has(caption);
  const number = (value) => value.toLocaleString("en");
  const of = search.value.trim() ? `${number(found.length)} of ` : "";
  const first = shown.size < found.length ? `, the first ${number(shown.size)} shown` : "";
  count.textContent = `${of}${number(captions.length)} captions${first}`;
  further.hidden = found.length <= STEP;
  more.textContent = `Show ${number(Math.min(STEP, found.length - shown.size))} more`;
  more.hidden = shown.size === found.length;
  all.textContent = more.hidden ? `Show the first ${STEP} only` : `Show all ${number(found.length)}`;
};
const showAtMost = (number) => {
  most = number;
  show();
  // A button that goes would take the keyboard's place with it.
  if (more.hidden) all.focus({ preventScroll: true });
};
const sort = (button) => {
  const head = button.closest("th");
  const down = head.getAttribute("aria-sort") !== "descending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const value = ({ body }) => body.rows[0].cells[head.cellIndex].dataset.value;
  const numbers = captions.some((one) => value(one) !== "" && !isNaN(value(one)));
  const compare = (a, b) => numbers
    ? Number(a === "" ? -Infinity : a) - Number(b === "" ? -Infinity : b)
    : a.localeCompare(b);
  captions.sort((a, b) => (down ? -1 : 1) * compare(value(a), value(b)));
  table.append(...captions.map(({ body }) => body));
  show();
};

search.addEventListener("input", show);
more.addEventListener("click", () => showAtMost(most + STEP));
all.addEventListener("click", () => {
  const fewer = more.hidden;
  showAtMost(fewer ? STEP : Infinity);
  if (fewer) all.scrollIntoView({ block: "center" });
});
for (const button of table.tHead.querySelectorAll("button")) {
  button.disabled = false;
  button.addEventListener("click", () => sort(button));
}
document.getElementById("controls").hidden = false;
show();
