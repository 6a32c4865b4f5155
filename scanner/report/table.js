// Table of ranked captions: shows a few at a time; search and sort cover all of them.
const STEP = 50;
const table = document.querySelector("#ranked");
const [search, count, further, more, all] = ["search", "count", "further", "more", "all"].map(
  (id) => document.getElementById(id));
// Each caption is a tbody, to keep its second row with it.
const captions = [...table.tBodies].map((body) => ({
  body,
  text: [...body.querySelectorAll(".text")].map((cell) => cell.textContent).join(" ").toLowerCase(),
}));
let limit = STEP;

const show = () => {
  const words = search.value.toLowerCase().split(/\s+/);
  const matches = captions.filter(({ text }) => words.every((word) => text.includes(word)));
  const shown = new Set(matches.slice(0, limit));
  for (const caption of captions) caption.body.hidden = !shown.has(caption);
  const number = (value) => value.toLocaleString("en");
  const of = search.value.trim() ? `${number(matches.length)} of ` : "";
  const first = shown.size < matches.length ? `, first ${number(shown.size)} shown` : "";
  count.textContent = `${of}${number(captions.length)} captions${first}`;
  further.hidden = matches.length <= STEP;
  more.textContent = `Show ${number(Math.min(STEP, matches.length - shown.size))} more`;
  more.hidden = shown.size === matches.length;
  all.textContent = more.hidden ? `Show only the first ${STEP}` : `Show all ${number(matches.length)}`;
};
const showAtMost = (number) => {
  limit = number;
  show();
  // A button that disappears would lose the keyboard focus.
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
more.addEventListener("click", () => showAtMost(limit + STEP));
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
